"""The training file that `vis-ros train-init` writes for labels of every kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip('torch')
from helpers.coco_files import annotation, box_polygon, write_dataset
from helpers.youtube_vis_files import write_youtube_vis

from vis_ros.cli import main as cli
from vis_ros.datasets.labels import labels_of
from vis_ros.training.own_config import OwnConfig
from vis_ros.training.own_labels import OwnLabels, read_own_labels
from vis_ros.training.train_config import TrainConfig
from vis_ros.training.validation_data import open_truths


def photos(folder: Path, count: int = 20) -> Path:
    """Photos with one dog each that is large enough to be pasted."""
    images = [(n, f'{n}.png', 96, 128) for n in range(1, count + 1)]
    return write_dataset(folder, images, [annotation(n, n, 18, box_polygon(20, 20, 90, 80)) for n, *_ in images])


def config(tmp_path: Path, labels: OwnLabels, held_out: OwnLabels | None = None, steps: int = 0) -> TrainConfig:
    own = OwnConfig(labels, held_out, 'demo', (288, 512), 'mine', steps)
    (tmp_path / 'mine.yaml').write_text(own.to_yaml())
    return TrainConfig.read(tmp_path / 'mine.yaml')


def test_every_tenth_photo_is_held_out_and_objects_move(tmp_path: Path) -> None:
    path = photos(tmp_path / 'my "photos" #1')
    labels = read_own_labels(path, None)
    assert (labels.of_photos, labels.count, labels.objects, labels.labels) == (True, 20, 20, 'exhaustive')
    made = config(tmp_path, labels)
    assert [(each.kind, each.part) for each in made.data] == [('composites', 'training'), ('images', 'training')]
    assert made.validation is not None
    assert [(each.kind, each.part) for each in made.validation.data] == [
        ('images', 'held-out'),
        ('composites', 'held-out'),
    ]
    assert made.validation.patience > 0 and made.checkpoint_every <= made.validation.every
    assert {Path(str(each.annotations)) for each in made.data} == {path}, 'names with signs of YAML survive'


def test_other_photos_may_be_held_out(tmp_path: Path) -> None:
    mine, other = (read_own_labels(photos(tmp_path / name, count), None) for name, count in (('a', 12), ('b', 3)))
    made = config(tmp_path, mine, other)
    assert made.validation is not None
    assert {each.part for each in made.data} == {'all'} == {each.part for each in made.validation.data}
    assert {Path(str(each.annotations)) for each in made.validation.data} == {other.path}


def test_videos_are_split_by_video(tmp_path: Path) -> None:
    labels = read_own_labels(write_youtube_vis(tmp_path / 'videos'), None)
    assert not labels.of_photos and labels.classes == ('cat', 'dog') and labels.count == 6
    made = config(tmp_path, labels)
    assert made.validation is not None
    trained, held_out = made.data[0].only, made.validation.data[0].only
    assert trained and held_out and not set(trained) & set(held_out)
    assert {*trained, *held_out} == set(labels.videos)


def test_where_only_some_objects_are_labeled_the_rest_is_ignored(tmp_path: Path) -> None:
    labels = read_own_labels(photos(tmp_path / 'photos'), None, 'partial')
    assert not any(each.exhaustive for each in config(tmp_path, labels).data)
    assert 'all other pixels are ignored' in ' '.join(OwnConfig(labels, None, 'demo', (288, 512), 'mine').remarks())


def test_partial_labels_are_judged_by_j_and_f(tmp_path: Path) -> None:
    for labels, figure in (('partial', 'J&F'), ('exhaustive', 'AP')):
        made = config(tmp_path, read_own_labels(photos(tmp_path / labels), None, labels))
        assert made.validation is not None and made.validation.figure == figure
        (truth,) = open_truths(replace(made.validation, data=made.validation.data[:1]), made.size).values()
        assert labels_of(truth)[0] == labels


@pytest.mark.parametrize(('count', 'size'), [(2, (1, 125)), (10, (2, 75)), (25, (5, 10)), (100, (12, 10))])
def test_few_held_out_videos_give_enough_segments_for_a_verdict(
    tmp_path: Path, count: int, size: tuple[int, int]
) -> None:
    labels = read_own_labels(write_youtube_vis(tmp_path / 'videos'), None)
    made = config(tmp_path, replace(labels, videos=tuple(f'video {number}' for number in range(count))))
    assert made.validation is not None and (made.validation.videos, made.validation.frames) == size


@pytest.mark.parametrize(('count', 'steps'), [(10, 300), (100, 800), (100_000, 6000)])
def test_the_steps_follow_the_amount_of_data(tmp_path: Path, count: int, steps: int) -> None:
    labels = replace(read_own_labels(photos(tmp_path / 'photos'), None), count=count)
    assert OwnConfig(labels, None, 'demo', (288, 512), 'mine').steps == steps


def test_what_cannot_be_held_out_is_told(tmp_path: Path) -> None:
    few = read_own_labels(photos(tmp_path / 'photos', 5), None)
    with pytest.raises(ValueError, match='5 photos: every tenth is held out'):
        config(tmp_path, few)
    videos = read_own_labels(write_youtube_vis(tmp_path / 'videos'), None)
    with pytest.raises(ValueError, match=r'holds photos, but .* videos'):
        config(tmp_path, few, videos)
    with pytest.raises(ValueError, match='one video'):
        config(tmp_path, replace(videos, videos=('a',)))


def test_missing_images_name_the_folders_that_were_searched(tmp_path: Path) -> None:
    path = photos(tmp_path / 'photos')
    (tmp_path / 'photos' / 'images').rename(tmp_path / 'elsewhere')
    with pytest.raises(FileNotFoundError, match='give --images'):
        read_own_labels(path, None)
    assert read_own_labels(path, tmp_path / 'elsewhere').count == 20


def test_the_command_writes_the_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = photos(tmp_path / 'photos'), tmp_path / 'dogs.yaml'
    arguments = ['train-init', str(path), '--no-measure', '--out', str(out)]
    monkeypatch.setattr('sys.argv', ['vis-ros', *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    made = TrainConfig.read(out)
    assert made.out == 'runs/dogs' and made.model.name == 'dogs'
    before = out.read_bytes()
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1 and out.read_bytes() == before
