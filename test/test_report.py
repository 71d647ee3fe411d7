"""The report: its HTML is parsed with the standard library and compared with the evaluation."""

import base64
import itertools
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from importlib.util import find_spec
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from helpers import annotated_memory as memory

from vis_ros.datasets.coco_rle import encode
from vis_ros.evaluation.compare_results import MetricDifference, compare
from vis_ros.evaluation.evaluate_results import evaluate
from vis_ros.evaluation.evaluation import COUNTS, METRICS, Coverage, Evaluation, IdentitySwitch, MatchedRun, ObjectTrack
from vis_ros.evaluation.leading_figure import PHOTO_METRICS
from vis_ros.evaluation.paired_interval import Interval
from vis_ros.evaluation.report import clip, error_sheets, incident_images
from vis_ros.evaluation.report import html_report as report
from vis_ros.evaluation.report.html_report import charts
from vis_ros.evaluation.report.incident_images import draw_outlines, window_of
from vis_ros.evaluation.report.incidents import losses, switch_incidents
from vis_ros.visualization import identity_color

# --- synthetic evaluations and how to read a report -------------------------------------------------------------------

VOID = {'meta', 'br', 'img'}
EPOCH = 2**32


class Tree(HTMLParser):
    """The elements of an HTML page; fails where tags do not nest."""

    def __init__(self, text):
        super().__init__()
        self._builder = ElementTree.TreeBuilder()
        self._open = []
        self.feed(text)
        self.close()
        assert self._open == []
        self.root = self._builder.close()

    def handle_starttag(self, tag, attrs):
        self._builder.start(tag, {name: value or '' for name, value in attrs})
        self._open.append(tag)
        if tag in VOID:
            self.handle_endtag(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f'</{tag}> closes another element'
        self._builder.end(tag)

    def handle_data(self, data):
        if self._open:
            self._builder.data(data)


def written(tmp_path, evaluation, **arguments):
    """The page of an evaluation as text and as its root element."""
    path = tmp_path / 'report.html'
    report.write_report(evaluation, path, **arguments)
    text = path.read_text(encoding='utf-8')
    return text, Tree(text).root


def words(element):
    """All text in an element, white space folded."""
    return ' '.join(' '.join(element.itertext()).split())


def section(root, name):
    (found,) = [each for each in root.iter('section') if each.get('id') == name]
    return found


def table(element, kind):
    """Rows of cell texts of the first table of a class, its head first."""
    found = next(each for each in element.iter('table') if each.get('class') == kind)
    return [[words(cell) for cell in row if cell.tag in ('th', 'td')] for row in found.iter('tr')]


def figures(random):
    return {
        name: int(random.integers(0, 3000)) if name in COUNTS else float(random.uniform(0, 0.99)) for name in METRICS
    }


def random_track(random, video, object_id, length, most_runs=8):
    """An object with random runs inside its visible frames, and its switches."""
    edges = np.unique(random.integers(0, length, 2 * most_runs))
    edges = edges[: len(edges) // 2 * 2].reshape(-1, 2)
    identities = random.choice([3, 17, 3 + EPOCH, 254], len(edges))
    runs = [MatchedRun(int(a), int(b) - 1, int(c)) for (a, b), c in zip(edges, identities, strict=True)]
    switches = [
        IdentitySwitch(video, run.first, f'{run.first:05d}.jpg', object_id, before.result_id, run.result_id)
        for before, run in itertools.pairwise(runs)
        if before.result_id != run.result_id
    ]
    visible = ((max(0, runs[0].first - 2), min(length - 1, runs[-1].last + 3)),) if runs else ((0, length - 1),)
    frames = sum(last - first + 1 for first, last in visible)
    j, f = random.uniform(0, 1, 2).tolist()
    result_id = runs[0].result_id if runs else None
    track = ObjectTrack(
        video, object_id, 'zebra', frames, result_id, j, f, len(switches), len(runs), tuple(runs), visible
    )
    return track, switches


def made(seed=0, videos=('first', 'second'), objects=3, length=90, most_runs=8, **fields):
    """An evaluation with random contents."""
    random = np.random.default_rng(seed)
    tracks = [
        random_track(random, video, object_id, length, most_runs)
        for video in videos
        for object_id in range(1, objects + 1)
    ]
    curves = -np.sort(-random.uniform(0, 1, (10, 101)), axis=1)
    evaluation = Evaluation(
        results='out',
        truth='truth.json',
        settings={'model': 'demo', 'association': {'max_age': 30}, 'every': 1},
        agnostic=figures(random),
        aware=figures(random),
        per_class={'zebra': figures(random), 'shark': figures(random)},
        per_video={video: figures(random) for video in videos},
        lengths=dict.fromkeys(videos, length),
        objects=tuple(track for track, _ in tracks),
        switches=tuple(switch for _, switches in tracks for switch in switches),
        precision={f'{0.5 + 0.05 * k:.2f}': tuple(curve) for k, curve in enumerate(curves.tolist())},
        coverage=Coverage(len(videos), len(videos) * length, 0, 0, 0, len(videos) * length),
    )
    return replace(evaluation, **fields)


def spans(path):
    """[(first, one after the last), ...] of a path of horizontal lines in units of frames."""
    assert re.fullmatch(r'(M\d+ \.5h\d+)*', path)
    return [(int(x), int(x) + int(width)) for x, width in re.findall(r'M(\d+) \.5h(\d+)', path)]


def color(identity):
    return '#{2:02x}{1:02x}{0:02x}'.format(*identity_color(identity % EPOCH))


def strips(element):
    """(row header, outer SVG of the strip, SVG of its bars) of each row of the timelines in an element."""
    for found in element.iter('table'):
        if found.get('class') == 'timeline':
            for row in found.find('tbody'):
                outer = row.find('td/svg')
                yield words(row.find('th')), outer, next(each for each in outer.iter('svg') if each.get('y') == '8')


def outlined_set(masks, images=None, shift=0, switch_at=None, name='clip'):
    """A video of one object; from `switch_at` on under another identity; `images` are (H, W, 3) or an error."""

    def reader(image):
        def read():
            if isinstance(image, Exception):
                raise image
            return image

        return read

    frames = []
    for index, mask in enumerate(masks):
        identity = 7 if switch_at is None or index < switch_at else 9
        objects = [] if mask is None else [(identity if shift else 1, np.roll(mask, shift, 1))]
        frame = memory.frame(objects, index, size=next(each for each in masks if each is not None).shape)
        frames.append(replace(frame, read_image=None if images is None else reader(images[index])))
    return memory.videos(memory.MemoryVideo(name, frames))


def moving_box(frames=10, size=(120, 160)):
    """Masks of a box that moves to the right."""
    return [memory.box(20 + 4 * index, 30, 60 + 4 * index, 80, size) for index in range(frames)]


def gray_images(frames=10, size=(120, 160)):
    """Images that show their number: frame k has the gray value 15 * k."""
    return [np.full((*size, 3), 15 * index, np.uint8) for index in range(frames)]


def decoded(image):
    """The image of an <img>."""
    assert image.get('src').startswith('data:image/jpeg;base64,')
    data = base64.b64decode(image.get('src').split(',')[1], validate=True)
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def pictures(element):
    """The pictures in an element, without clips."""
    return [decoded(each) for each in element.iter('img') if each.get('src').startswith('data:image/jpeg')]


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_needs_no_other_file(tmp_path):
    masks = moving_box()
    truth = outlined_set(masks, gray_images())
    results = outlined_set(masks, shift=1, switch_at=5)
    evaluation = replace(evaluate(results, truth), latencies_ms=(1.0, 2.0))
    text, root = written(tmp_path, evaluation, truth=truth, results=results, comparison=compare(evaluation, evaluation))
    targets = {each.get('id') for each in root.iter()}
    for each in root.iter():
        assert each.tag not in ('link', 'script', 'iframe', 'object', 'embed', 'base')
        for name in ('src', 'href', 'srcset', 'xlink:href', 'data'):
            value = each.get(name)
            assert value is None or value.startswith('data:') or (value[0] == '#' and value[1:] in targets)
    assert not re.search(r'https?:|url\(|@import', text)
    assert str(tmp_path) not in text


def test_charts_are_well_formed_xml_with_titles(tmp_path):
    text, _ = written(tmp_path, made(latencies_ms=tuple(range(50))))
    depth, start, drawings = 0, 0, []
    for tag in re.finditer(r'<svg|</svg>', text):
        start = tag.start() if depth == 0 else start
        depth += 1 if tag[0] == '<svg' else -1
        if depth == 0:
            drawings.append(ElementTree.fromstring(text[start : tag.end()]))
    assert len(drawings) > 10
    for drawing in drawings:
        assert drawing.get('aria-hidden') == 'true' or (drawing.get('role') == 'img' and drawing.findtext('title'))


def test_the_same_evaluation_gives_the_same_bytes(tmp_path):
    masks = moving_box()
    truth = outlined_set(masks, gray_images())
    results = outlined_set(masks, shift=1, switch_at=5)
    first, _ = written(tmp_path, evaluate(results, truth), truth=truth, results=results)
    second, _ = written(tmp_path, evaluate(results, truth), truth=truth, results=results)
    assert first == second


def test_text_is_escaped(tmp_path):
    name = '<b>&"\'</b>'
    evaluation = made(videos=(name,), results='<i>out', settings={'<u>': ['<s>']}, per_class={'<em>': made().agnostic})
    _, root = written(tmp_path, replace(evaluation, coverage=Coverage(1, 90, 0, 0, 0, 90, 0, {'<q>': 2})))
    assert not {'b', 'i', 'u', 's', 'em', 'q'} & {each.tag for each in root.iter()}
    assert name in words(section(root, 'timelines'))
    assert all(text in words(root) for text in ('<i>out', '<u>', '<s>', '<em>', '<q> (2)'))


def test_the_head_says_what_was_evaluated_and_how(tmp_path):
    settings = {
        'model': 'demo',
        'association': {'max_age': 30, 'by': 'iou'},
        'class_names': [f'class{k}' for k in range(40)],
        'frames_of': {f'video{k}': k for k in range(300)},
        'live': {'sent': 800, 'latency_ms': [1.5] * 800},
        'topic': '',
        'score_threshold': None,
    }
    _, root = written(tmp_path, made(settings=settings, results='my/results', truth='my/truth.json'))
    text = {}
    for terms in (root.find('.//dl'), section(root, 'settings').find('dl')):
        text |= dict(zip(map(words, terms.iter('dt')), map(words, terms.iter('dd')), strict=True))
    assert text['results'] == 'my/results'
    assert text['ground truth'] == 'my/truth.json'
    assert text['model'] == 'demo'
    assert text['association'] == 'max_age: 30, by: iou'
    assert text['frames_of'].startswith('video0: 0, video1: 1,') and text['frames_of'].endswith('and 288 more')
    assert text['live'].startswith('sent: 800, latency_ms: 1.5,') and text['live'].endswith('and 788 more')
    assert not {'topic', 'score_threshold'} & text.keys()
    assert text['class_names'].startswith('class0, class1,') and text['class_names'].endswith('and 28 more')


def test_what_was_not_compared_is_highlighted(tmp_path):
    coverage = Coverage(2, 180, 7, 11, 0, 190, 3, {'shark': 4}, ('third',), ('fourth',))
    _, root = written(tmp_path, made(coverage=coverage))
    (box,) = [each for each in root.iter() if each.get('class') == 'warnings']
    assert all(statement in words(box) for statement in coverage.statements())
    assert len(list(box.iter('li'))) == 6
    _, root = written(tmp_path, made())
    assert not [each for each in root.iter() if each.get('class') == 'warnings']
    assert made().coverage.statements()[0] in words(root)


# --- figures ----------------------------------------------------------------------------------------------------------


def number(text):
    return float(text.replace(',', '').replace('−', '-'))


def test_every_metric_is_in_its_table(tmp_path):
    evaluation = made()
    _, root = written(tmp_path, replace(evaluation, agnostic=evaluation.agnostic | {'MOTA': -1.25}))
    head, *rows = table(section(root, 'metrics'), 'metrics')
    assert head[:3] == ['metric', 'class- agnostic', 'class- aware']
    assert [row[0] for row in rows] == list(METRICS)
    for name, agnostic, aware, meaning in rows:
        assert number(agnostic) == pytest.approx((evaluation.agnostic | {'MOTA': -1.25})[name], abs=5e-4)
        assert number(aware) == pytest.approx(evaluation.aware[name], abs=5e-4)
        assert ('.' in agnostic, '.' in aware) == (name not in COUNTS,) * 2
        assert meaning
    tables = [each for each in section(root, 'metrics').iter('table') if each.get('class') == 'wide']
    for found, wanted in zip(tables, (evaluation.per_class, evaluation.per_video), strict=True):
        head, *rows = [[words(cell) for cell in row] for row in found.iter('tr')]
        assert head[1:] == list(METRICS)
        assert [row[0] for row in rows] == list(wanted)
        for key, *cells in rows:
            assert [number(cell) for cell in cells] == pytest.approx(list(wanted[key].values()), abs=5e-4)


def test_without_classes_there_is_one_column(tmp_path):
    _, root = written(tmp_path, made(aware=None, per_class={}))
    assert table(section(root, 'metrics'), 'metrics')[0] == ['metric', 'class- agnostic', 'meaning']
    assert 'no class labels' in words(section(root, 'metrics'))


@pytest.mark.parametrize(
    ('value', 'name', 'text'),
    [
        (1.0, 'AP', '1.000'),
        (0.9997, 'AP', '>0.999'),
        (1 - 1e-12, 'AP', '1.000'),
        (0.0004, 'F', '<0.001'),
        (0.0, 'F', '0.000'),
        (-0.5, 'MOTA', '−0.500'),
        (12345, 'IDSW', '12,345'),
    ],
)
def test_metrics_as_text(value, name, text):
    assert report.metric_text(value, name) == text


def test_bars_of_j_and_f(tmp_path):
    evaluation = made()
    _, root = written(tmp_path, evaluation)
    (found,) = [each for each in root.iter('table') if each.get('class') == 'objects']
    rows = list(found.find('tbody'))
    assert len(rows) == len(evaluation.objects)
    for row, track in zip(rows, evaluation.objects, strict=True):
        cells = [words(cell) for cell in row]
        assert cells[:4] == [track.video, str(track.object_id), 'zebra', str(track.frames)]
        assert [number(cell) for cell in cells[5:7]] == pytest.approx([track.j, track.f], abs=5e-4)
        assert cells[7:] == [str(track.switches), str(track.fragmentations)]
        bars = [each for each in row.iter('rect') if each.get('class') != 'band']
        assert [float(bar.get('width')) / 80 for bar in bars] == pytest.approx([track.j, track.f], abs=1e-3)


# --- timelines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('seed', range(5))
def test_bars_are_the_runs(tmp_path, seed):
    evaluation = made(seed, length=int(np.random.default_rng(seed).integers(2, 3000)))
    _, root = written(tmp_path, evaluation)
    rows = list(strips(section(root, 'timelines')))
    assert len(rows) == len(evaluation.objects)
    for (header, outer, inner), track in zip(rows, evaluation.objects, strict=True):
        length = evaluation.lengths[track.video]
        assert header == f'object {track.object_id} zebra'
        assert inner.get('viewbox') == f'0 0 {length} 1'
        seen, *bars = inner.findall('path')
        assert spans(seen.get('d')) == [(first, last + 1) for first, last in track.visible]
        wanted = {}
        for run in track.runs:
            wanted.setdefault(run.result_id, []).append((run.first, run.last + 1))
        drawn = {bar.findtext('title'): (bar.get('stroke'), spans(bar.get('d'))) for bar in bars}
        assert len(drawn) == len(bars) == len(wanted)
        for identity, its_spans in wanted.items():
            frames = sum(end - first for first, end in its_spans)
            name = f'{identity % EPOCH} of epoch 1' if identity >= EPOCH else str(identity)
            assert drawn[f'track {name}: {frames} frames'] == (color(identity), its_spans)
        its = [each for each in evaluation.switches if (each.video, each.object_id) == (track.video, track.object_id)]
        drawn_switches = [each for each in outer.findall('use') if each.get('href') == '#switch']
        assert [float(mark.get('x')[:-1]) * length / 100 for mark in drawn_switches] == pytest.approx(
            [each.frame for each in its], abs=0.01
        )


def test_labels_are_on_bars_that_are_long_enough(tmp_path):
    runs = (MatchedRun(0, 39, 3), MatchedRun(40, 41, 254), MatchedRun(42, 99, 5 + EPOCH))
    track = ObjectTrack('v', 1, 'zebra', 100, 3, 0.5, 0.5, 2, 0, runs, ((0, 99),))
    _, root = written(tmp_path, replace(made(videos=('v',), length=100), objects=(track,), switches=()))
    ((_, outer, _),) = strips(section(root, 'timelines'))
    assert [(each.get('x'), each.text) for each in outer.findall('text')] == [('20.0%', '3'), ('71.0%', '1:5')]
    assert '2:5 is track 5 of epoch 2' in words(section(root, 'timelines'))


@pytest.mark.parametrize(('objects', 'opened'), [(1, 12), (20, 3), (300, 1)])
def test_timelines_of_many_objects_are_folded(tmp_path, objects, opened):
    _, root = written(tmp_path, made(videos=tuple('abcdefghijkl'), objects=objects, most_runs=1))
    folds = list(section(root, 'timelines').iter('details'))
    assert len(folds) == min(12, -(-2000 // objects))
    assert ['open' in each.attrib for each in folds] == [index < opened for index in range(len(folds))]


def test_frame_numbers_on_the_axis(tmp_path):
    for length in (1, 7, 90, 18_000):
        _, root = written(tmp_path, made(videos=('v',), objects=1, length=length, most_runs=0))
        axis = next(each for each in root.iter('table') if each.get('class') == 'timeline').find('thead//svg')
        ticks = [(float(each.get('x')[:-1]), int(each.text.split()[-1])) for each in axis.findall('text')]
        assert ticks[0] == (0, 0)
        assert len(ticks) <= 60
        assert all(x * length / 100 == pytest.approx(frame, abs=0.02) for x, frame in ticks)


def test_tracks_without_a_color_share_a_bar(tmp_path):
    runs = tuple(MatchedRun(3 * k, 3 * k + (k < 200), k) for k in range(260))
    track = ObjectTrack('v', 1, 'zebra', 800, 0, 0.5, 0.5, 259, 0, runs, ((0, 799),))
    _, root = written(tmp_path, replace(made(videos=('v',), length=800), objects=(track,), switches=()))
    ((_, _, inner),) = strips(section(root, 'timelines'))
    bars = {each.findtext('title'): spans(each.get('d')) for each in inner.findall('path')[1:]}
    assert len(bars) == 201
    assert bars['60 other tracks with fewer frames'] == [(3 * k, 3 * k + 1) for k in range(200, 260)]


# --- switches ---------------------------------------------------------------------------------------------------------


def test_every_switch_is_listed(tmp_path):
    evaluation = made()
    _, root = written(tmp_path, evaluation)
    _, *rows = table(section(root, 'switches'), 'switches')
    wanted = [
        [s.video, str(s.frame), s.frame_name, str(s.object_id), *map(named, (s.before, s.after))]
        for s in evaluation.switches
    ]
    assert rows == wanted
    assert 'no images of the switches' in words(section(root, 'switches'))
    assert not list(root.iter('img'))


def named(identity):
    return f'{identity % EPOCH} of epoch {identity // EPOCH}' if identity >= EPOCH else str(identity)


def test_images_show_the_frames_around_a_switch(tmp_path):
    """The object is lost for two frames before it switches: the last frame on the old track is the third before."""
    masks = moving_box()
    truth = outlined_set(masks, gray_images())
    results = outlined_set(
        [None if index in (4, 5) else mask for index, mask in enumerate(masks)], shift=1, switch_at=6
    )
    evaluation = evaluate(results, truth)
    assert [(each.frame, each.before, each.after) for each in evaluation.switches] == [(6, 7, 9)]
    _, root = written(tmp_path, evaluation, truth=truth, results=results)
    shown = pictures(section(root, 'switches'))
    assert [float(np.median(image)) for image in shown] == pytest.approx([45, 90], abs=3)
    assert all(image.shape[0] <= 180 and image.shape[1] <= 240 for image in shown)
    captions = [words(each) for each in section(root, 'switches').iter('small')]
    assert captions == ['frame 3: track 7', 'frame 6: track 9']


def test_images_with_frames_left_out_or_in_another_order(tmp_path):
    """Positions count the compared frames only, and the images may be with the results."""
    masks = moving_box()
    truth = outlined_set(masks)
    results = outlined_set(masks, gray_images(), shift=1, switch_at=7)
    kept = [frame for frame in results.videos[0] if frame.index not in (1, 2)]
    results = memory.videos(memory.MemoryVideo('clip', kept))
    evaluation = evaluate(results, truth, common_frames=True)
    assert [each.frame for each in evaluation.switches] == [5]
    _, root = written(tmp_path, evaluation, truth=truth, results=results)
    assert [float(np.median(image)) for image in pictures(root)] == pytest.approx([90, 105], abs=3)


def test_losses_are_shown_the_longest_first(tmp_path):
    """The object is lost in frames 2 to 4 and 7; before frame 0 it had no track."""
    masks = moving_box()
    truth = outlined_set(masks, gray_images())
    found = [None if index in (2, 3, 4, 7) else mask for index, mask in enumerate(masks)]
    results = outlined_set(found, shift=1)
    evaluation = evaluate(results, truth)
    assert [(each.first, each.last, each.before) for each in losses(evaluation)] == [(2, 4, 7), (7, 7, 7)]
    _, root = written(tmp_path, evaluation, truth=truth, results=results)
    shown = section(root, 'losses')
    captions = [words(each) for each in shown.iter('small')]
    assert captions == ['frame 1: track 7', 'frame 3: not found', 'frame 6: track 7', 'frame 7: not found']
    assert [float(np.median(image)) for image in pictures(shown)] == pytest.approx([15, 45, 90, 105], abs=3)
    assert 'object 1 thing: lost for 3 frames, 2 to 4' in words(shown)
    late = evaluate(outlined_set([None] * 3 + masks[3:], shift=1), truth)
    assert [(each.first, each.last, each.before) for each in losses(late)] == [(0, 2, None)]


def test_losses_are_the_visible_frames_without_a_track():
    evaluation = made(videos=('one',), objects=20)
    lost = Counter()
    for each in losses(evaluation):
        assert each.frames == each.last - each.first + 1 > 0
        lost.update((each.object_id, frame) for frame in range(each.first, each.last + 1))
    wanted = Counter()
    for track in evaluation.objects:
        matched = {frame for run in track.runs for frame in range(run.first, run.last + 1)}
        visible = {frame for first, last in track.visible for frame in range(first, last + 1)}
        wanted.update((track.object_id, frame) for frame in visible - matched)
    assert lost == wanted


@pytest.mark.parametrize('element', ['img', 'video'])
def test_a_clip_shows_the_frames_around_an_incident(tmp_path, monkeypatch, element):
    seen = []

    def make_clip(images):
        seen.append([float(np.median(image)) for image in images])
        return clip.EncodedClip('data:,clip', element)

    monkeypatch.setattr(incident_images, 'make_clip', make_clip)
    masks = moving_box()
    truth = outlined_set(masks, gray_images())
    results = outlined_set(masks, shift=1, switch_at=8)
    evaluation = evaluate(results, truth)
    _, root = written(tmp_path, evaluation, truth=truth, results=results)
    assert seen == [pytest.approx([15 * index for index in range(1, 10)], abs=3)]
    assert [each.get('src') for each in section(root, 'switches').iter(element)][-1] == 'data:,clip'
    assert 'clip, frames 1 to 9' in words(section(root, 'switches'))
    long = replace(switch_incidents(evaluation)[0], first=0, last=999, length=1000)
    assert len(long.clip_frames()) <= 20 and long.clip_frames()[0] == 0


def test_a_clip_is_animated_webp_or_h264():
    images = gray_images(8, (101, 161))
    made_clip = clip.make_clip(images)
    if find_spec('av') is None and not hasattr(cv2, 'imencodeanimation'):
        assert made_clip is None
    elif made_clip.element == 'video':
        assert base64.b64decode(made_clip.uri.split(',')[1])[4:8] == b'ftyp'
    else:
        encoded = np.frombuffer(base64.b64decode(made_clip.uri.split(',')[1]), np.uint8)
        read, animation = cv2.imdecodeanimation(encoded)
        assert read and [np.median(frame[..., :3]) for frame in animation.frames] == pytest.approx(
            [15 * index for index in range(8)], abs=3
        )
    assert clip.make_clip([]) is None


def test_an_image_that_cannot_be_read_is_reported(tmp_path):
    masks, images = moving_box(), gray_images()
    images[4] = OSError('img4.jpg is gone')
    images[5] = np.zeros((7, 9, 3), np.uint8)
    truth, results = outlined_set(masks, images), outlined_set(masks, shift=1, switch_at=5)
    _, root = written(tmp_path, evaluate(results, truth), truth=truth, results=results)
    text = words(section(root, 'switches'))
    assert 'no image: img4.jpg is gone' in text
    assert 'no image: the image has (height, width) (7, 9), its masks (120, 160)' in text
    truth = outlined_set(masks)
    _, root = written(tmp_path, evaluate(results, truth), truth=truth, results=results)
    assert 'no image: neither the labels nor the results have images' in words(section(root, 'switches'))


def test_an_image_has_both_outlines():
    image = np.full((300, 400, 3), 90, np.uint8)
    truth, result = (
        encode(memory.box(*corners, (300, 400))) for corners in ((150, 100, 250, 200), (180, 100, 280, 200))
    )
    window = window_of([truth, result], image.shape)
    shown = draw_outlines(image, window, truth, {7: result}).astype(int)
    assert shown.shape == (180, 240, 3)
    plain = draw_outlines(image, window_of([], image.shape), None, {})
    assert (plain == 90).all() and plain.shape == (180, 240, 3)
    # 130 pixels wide together, and six tenths of that around them, in the aspect ratio of the crop.
    scale, left = 240 / 208, 215 - 104
    for x, wanted in ((150, (255, 255, 255)), (279, identity_color(7))):
        column = shown[90, round((x - left) * scale) - 3 : round((x - left) * scale) + 4]
        assert np.abs(column - wanted).sum(1).min() < 150


def test_a_crop_stays_inside_the_image():
    size = (50, 700)
    x0, y0, x1, y1 = window_of([encode(memory.box(690, 40, 700, 50, size))], size)
    assert (x1 - x0, y1 - y0) == (64, 48) and (x1, y1) == (700, 50)
    assert window_of([encode(np.ones(size, np.uint8))] * 2, size) == (0, 0, 700, 50)
    shown = draw_outlines(np.zeros((*size, 3), np.uint8), (0, 0, 700, 50), None, {})
    assert shown.shape == (round(50 * 240 / 700), 240, 3)


def test_sheets_mark_switches_lost_and_false_objects(tmp_path, monkeypatch):
    marked = {}
    draw = error_sheets.draw_overlay

    def noted(image, found, *, marks):
        marked[int(image[0, 0, 0])] = marks
        return draw(image, found, marks=marks)

    monkeypatch.setattr(error_sheets, 'draw_overlay', noted)
    left, right, far = (2, 2, 10, 12), (15, 2, 25, 12), (2, 14, 8, 19)
    true_frames = [memory.frame([(1, left), (2, right)], n, ignored=far if n == 3 else None) for n in range(4)]
    true_frames = [
        replace(each, read_image=lambda n=n: np.full((20, 30, 3), n, np.uint8)) for n, each in enumerate(true_frames)
    ]
    # Frame 1: the left object is lost; frame 2: it has another track; a false track in frames 2 and 3, ignored in 3.
    found = [
        [(7, left), (8, right)],
        [(8, right)],
        [(9, left), (8, right), (4, far)],
        [(9, left), (8, right), (4, far)],
    ]
    truth, results = memory.videos(memory.video(true_frames)), memory.videos(found)
    assert error_sheets.write_error_sheets(tmp_path, evaluate(results, truth), truth, results) == 1
    assert cv2.imread(str(tmp_path / 'sheets' / 'video.png')).shape[1] == 1600
    assert [marks.in_words() for marks in marked.values()] == ['', '1 lost', '1 switch, 1 false', '']
    assert list(marked[2].switched.values()) == [7]
    np.testing.assert_array_equal(marked[1].lost.track_ids, [1])
    marked.clear()
    error_sheets.write_error_sheets(tmp_path, evaluate(results, truth, labels='partial'), truth, results)
    assert [marks.in_words() for marks in marked.values()] == ['', '1 lost', '1 switch', ''], 'not all are labeled'


def test_videos_without_images_have_no_sheet(tmp_path):
    truth = memory.videos([[(1, (2, 2, 10, 12))]])
    assert error_sheets.write_error_sheets(tmp_path, evaluate(truth, truth), truth, truth) == 0
    assert [path.name for path in (tmp_path / 'sheets').iterdir()] == ['.vis_ros']


# --- charts -----------------------------------------------------------------------------------------------------------


def plotted(points):
    """Recall and precision of SVG points, from pixels."""
    x, y = np.array([point.split(',') for point in points.split()], float).T
    return (x - charts.LEFT) / (charts.RIGHT - charts.LEFT), (charts.BOTTOM - y) / (charts.BOTTOM - charts.TOP)


def test_lines_of_precision_over_recall(tmp_path):
    evaluation = made()
    _, root = written(tmp_path, evaluation)
    lines = {each.get('class'): plotted(each.get('points')) for each in root.iter('polyline')}
    every = np.array(list(evaluation.precision.values()))
    wanted = {'line iou50': every[0], 'line iou75': every[5], 'line mean': every.mean(0)}
    assert lines.keys() == wanted.keys()
    for key, (recall, precision) in lines.items():
        np.testing.assert_allclose(recall, np.linspace(0, 1, 101), atol=1e-3)
        np.testing.assert_allclose(precision, wanted[key], atol=1e-3)
    (band,) = [each for each in root.iter('polygon')]
    _, edge = plotted(band.get('points'))
    np.testing.assert_allclose(edge, np.concatenate([every.max(0), every.min(0)[::-1]]), atol=1e-3)


def test_no_chart_without_precision(tmp_path):
    _, root = written(tmp_path, made(precision={'0.50': (-1.0,) * 101}))
    assert not list(root.iter('polyline'))
    assert 'no true objects, and so no precision' in words(section(root, 'charts'))
    _, root = written(tmp_path, made(precision={}))  # as of one recording of a library
    assert 'charts' not in {each.get('id') for each in root.iter('section')}
    assert '#charts' not in {each.get('href') for each in root.iter('a')}


@pytest.mark.parametrize('seed', range(8))
def test_latency_histogram_counts_each_message(seed):
    random = np.random.default_rng(seed)
    values = random.gamma(3, 10.0 ** random.integers(-2, 4), int(random.integers(1, 400)))
    values = np.append(values, values.max() * (30 if seed % 2 else 1))
    found = charts.latency_histogram(tuple(values.tolist()))
    assert sum(bar.count for bar in found.bars) + found.beyond == found.count == len(values)
    assert found.beyond == (values > found.end).sum()
    assert len(found.x_ticks) >= 2 and len(found.y_ticks) == 5
    for bar in found.bars:
        assert bar.count == ((values >= bar.first - 1e-9) & (values < bar.last - 1e-9)).sum() or bar.last == found.end
        assert bar.x >= charts.LEFT - 0.01 and bar.x + bar.width <= charts.RIGHT + 0.02
    top = float(found.y_ticks[-1].text) / (charts.BOTTOM - charts.TOP)
    assert [bar.height * top for bar in found.bars] == pytest.approx([bar.count for bar in found.bars], abs=top)
    assert max(bar.height for bar in found.bars) <= charts.BOTTOM - charts.TOP
    for mark, share in zip(found.percentiles, (50, 95, 99), strict=True):
        assert mark.value == pytest.approx(np.percentile(values, share))
        assert mark.x is None or charts.LEFT <= mark.x <= charts.RIGHT


@pytest.mark.parametrize('values', [(0.0,), (0.0, 0.0), (5.0,), (-3.0, 4.0), (-5.0, -4.0), (1e-9, 1e6)])
def test_latency_histogram_of_unusual_values(values):
    found = charts.latency_histogram(values)
    assert sum(bar.count for bar in found.bars) + found.beyond == len(values)
    assert all(bar.width > 0 for bar in found.bars)


def test_latency_is_drawn_for_live_runs_only(tmp_path):
    _, root = written(tmp_path, made())
    assert 'Latency' not in words(section(root, 'charts'))
    values = (*np.linspace(10, 20, 200).tolist(), 500.0)
    _, root = written(tmp_path, made(latencies_ms=values))
    text = words(section(root, 'charts'))
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    assert f'p50 {p50:.1f} ms, p95 {p95:.1f} ms, p99 {p99:.1f} ms, largest 500.0 ms' in text
    assert '1 beyond' in text


# --- comparison -------------------------------------------------------------------------------------------------------


def compared_pair():
    """A keeps the object; B switches at frame 6 and loses it from 8 on."""
    masks = moving_box()
    truth = outlined_set(masks)
    a = evaluate(outlined_set(masks, shift=1), truth)
    b = evaluate(outlined_set([*masks[:8], None, None], shift=1, switch_at=6), truth)
    return replace(a, results='run_a'), replace(b, results='run_b')


def test_comparison_shows_the_change_and_whether_it_is_decided(tmp_path):
    a, b = compared_pair()
    comparison = compare(a, b)
    text, root = written(tmp_path, b, comparison=comparison)
    rows = table(section(root, 'comparison'), 'comparison')[1:]
    assert [row[0] for row in rows] == list(METRICS)
    changed = {row[0]: row[1:] for row in rows}
    assert changed['IDSW'] == ['0', '1', '+1 undecided', '–']
    assert changed['HOTA'][2].startswith('−') and changed['HOTA'][2].endswith(' undecided')
    assert changed['Frag'] == ['0', '0', 'same', '–']
    made_up = MetricDifference
    decided = {
        made_up('IDSW', 0, 3, Interval(0.5, 5)): ['0', '3', '+3 worse', '+0.5 to +5.0'],
        made_up('HOTA', 0.5, 0.6, Interval(0.05, 0.15)): [
            '0.500',
            '0.600',
            '+0.100 better',
            '+0.050 to +0.150',
        ],
        made_up('AP', 0.5, 0.4, Interval(-0.2, -0.1)): ['0.500', '0.400', '−0.100 worse', '−0.200 to −0.100'],
        made_up('J', 0.5, 0.4, Interval(-0.2, 0.1)): [
            '0.500',
            '0.400',
            '−0.100 undecided',
            '−0.200 to +0.100',
        ],
    }
    other = {each.metric: each for each in comparison.agnostic} | {each.metric: each for each in decided}
    _, other = written(tmp_path, b, comparison=replace(comparison, agnostic=tuple(other.values())))
    changed = {row[0]: row[1:] for row in table(section(other, 'comparison'), 'comparison')[1:]}
    assert {name: changed[name.metric] for name in decided} == decided
    text = words(section(root, 'comparison'))
    assert all(f'{name}. {side.coverage.statements()[0]}' in text for name, side in (('run_a', a), ('run_b', b)))
    assert 'class="warning"' not in text
    gaps = replace(b, coverage=replace(b.coverage, missing=3))
    _, root = written(tmp_path, a, comparison=compare(gaps, a))
    (caution,) = [each for each in root.iter('p') if each.get('class') == 'warning']
    assert words(caution) == 'But a has no results for 3 of 10 frames, which count as misses.'
    (warning,) = [each for each in root.iter('strong') if each.get('class') == 'warning']
    assert words(warning) == gaps.coverage.statements()[1]
    changed = {row[0]: row[1:4] for row in table(section(root, 'comparison'), 'comparison')[1:]}
    assert changed['IDSW'] == ['1', '0', '−1 undecided']
    assert changed['HOTA'][2].startswith('+')


def test_a_comparison_begins_with_the_verdict_and_the_settings_that_differ(tmp_path):
    a, b = compared_pair()
    run = {'vis_ros': '1', 'settings': {'score_threshold': 0.3, 'min_hits': 3}}
    a, b = replace(a, settings=run), replace(b, settings=run | {'settings': {'score_threshold': 0.5, 'min_hits': 3}})
    comparison = compare(a, b)
    _, root = written(tmp_path, b, comparison=comparison)
    (verdict,) = [each for each in root.iter('p') if each.get('class', '').startswith('verdict')]
    assert words(verdict) == comparison.verdict.sentence() and verdict.get('class') == 'verdict undecided'
    assert table(root, 'settings') == [['setting that differs', 'A', 'B'], ['score_threshold', '0.3', '0.5']]
    text = words(root)
    assert text.index(words(verdict)) < text.index('score_threshold') < text.index('ground truth')


def test_figures_that_mean_nothing_stand_apart(tmp_path):
    _, root = written(tmp_path, made(labels='partial'))
    names = [row[0] for row in table(section(root, 'metrics'), 'metrics')[1:]]
    assert names[:6] == ['AssA', 'IDSW', 'Frag', 'J', 'F', 'J&F']
    assert names[6].startswith('The rest is not meaningful') and 'HOTA' in names[7:]


def test_the_report_of_photos_has_a_sheet_and_no_identities(tmp_path):
    _, root = written(tmp_path, made(photos=True), sheet=b'jpeg')
    assert {each.get('id') for each in root.iter('section')} == {'mistakes', 'metrics', 'charts', 'objects', 'settings'}
    (image,) = root.iter('img')
    assert image.get('src') == f'data:image/jpeg;base64,{base64.b64encode(b"jpeg").decode()}'
    assert [row[0] for row in table(section(root, 'metrics'), 'metrics')[1:]] == list(PHOTO_METRICS)


def test_comparison_shows_where_an_identity_was_lost(tmp_path):
    a, b = compared_pair()
    _, root = written(tmp_path, b, comparison=compare(a, b))
    (first, upper, of_a), (second, lower, of_b) = strips(section(root, 'differences'))
    assert (first, second) == ('object 1, A thing', 'object 1, B thing')
    assert [spans(each.get('d')) for each in of_a.findall('path')[1:]] == [[(0, 10)]]
    assert [spans(each.get('d')) for each in of_b.findall('path')[1:]] == [[(0, 6)], [(6, 8)]]
    assert [each for each in upper.iter('path') if each.get('class') == 'lost'] == []
    (lost,) = [each for each in lower.iter('path') if each.get('class') == 'lost']
    assert spans(lost.get('d')) == [(6, 7), (8, 10)]
    _, *rows = table(section(root, 'differences'), 'losses')
    assert rows == [['clip', '1', 'thing', '6', 'B', '9', '7'], ['clip', '1', 'thing', '8 to 9', 'B', 'none', '7']]


def test_comparison_of_equal_results(tmp_path):
    a, _ = compared_pair()
    _, root = written(tmp_path, a, comparison=compare(a, a))
    assert 'All objects are found in the same frames' in words(section(root, 'differences'))
    text = words(section(root, 'comparison'))
    assert Counter(text.split())['same'] >= len(METRICS)
    assert 'better' not in text and 'worse' not in text


# --- many -------------------------------------------------------------------------------------------------------------


def test_what_is_left_out_is_counted(tmp_path, monkeypatch):
    for name in ('MAX_SWITCH_IMAGES', 'MAX_STRIPS', 'MAX_ROWS'):
        monkeypatch.setattr(report, name, 2)
    masks = moving_box(16)
    truth = outlined_set(masks, gray_images(16))
    frames = [
        replace(frame, track_ids=frame.track_ids + 2 * frame.index) for frame in outlined_set(masks, shift=1).videos[0]
    ]
    results = memory.videos(memory.MemoryVideo('clip', frames))
    evaluation = evaluate(results, truth)
    assert len(evaluation.switches) == 15
    _, root = written(tmp_path, evaluation, truth=truth, results=results)
    text = words(section(root, 'switches'))
    assert '2 of 15 switches are shown, evenly spaced; the table has more' in text
    assert 'and 13 more switches' in text
    assert [words(each).split(':')[0] for each in root.iter('small')] == ['frame 0', 'frame 1', 'frame 7', 'frame 8']
    steady = evaluate(outlined_set(masks, shift=1), truth)
    _, root = written(tmp_path, evaluation, comparison=compare(steady, evaluation))
    assert 'and 13 more lost identities' in words(section(root, 'differences'))
    evaluation = made(videos=tuple('abcde'))
    _, root = written(tmp_path, evaluation)
    assert len(list(strips(root))) == 2
    assert 'and 13 more objects' in words(section(root, 'timelines'))
    assert 'and 13 more objects' in words(section(root, 'objects'))
    assert 'and 3 more videos' in words(section(root, 'metrics'))


def test_a_large_report_stays_small(tmp_path):
    """300 objects in 18,000 frames with some 30,000 runs: a few megabytes."""
    evaluation = made(videos=('long',), objects=300, length=18_000, most_runs=100)
    assert sum(len(track.runs) for track in evaluation.objects) > 25_000
    text, root = written(tmp_path, evaluation)
    assert len(list(strips(section(root, 'timelines')))) == 300
    assert len(text) < 4e6
    assert f'and {len(evaluation.switches) - 1000:,} more switches' in words(section(root, 'switches'))


def test_a_report_without_objects(tmp_path):
    evaluation = made(objects=0, precision={}, videos=('empty',))
    _, root = written(tmp_path, evaluation)
    assert 'no true objects' in words(section(root, 'timelines'))
    assert 'There are no identity switches' in words(section(root, 'switches'))
