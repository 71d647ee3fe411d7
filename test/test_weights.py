"""Named weights, downloaded from an HTTP server on this machine that sends correct or wrong files."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vis_ros.networks import checkpoints
from vis_ros.networks import named_weights as weights
from vis_ros.networks.checkpoint_layouts import LAYOUTS
from vis_ros.networks.named_weights import WEIGHTS, NamedWeights, fetch, path_of, resolve

BODY = bytes(range(256)) * 20_000  # 5 MB, several blocks
DIGEST = hashlib.sha256(BODY).hexdigest()


class Publisher(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        if self.path.startswith('/missing'):
            self.send_error(404)
            return
        self.send_response(200)
        if not self.path.startswith('/unsized'):
            self.send_header('Content-Length', str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[: len(BODY) // 2] if self.path.startswith('/truncated') else BODY)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def publisher():
    server = ThreadingHTTPServer(('127.0.0.1', 0), Publisher)
    server.requests = []
    server.url = f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    for proxy in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(proxy, raising=False)
    return tmp_path / 'cache' / 'vis_ros'


@pytest.fixture
def converted(monkeypatch):
    """Replaces the converter, which needs a whole network; records its arguments."""
    calls = []

    def convert(path: Path, layout: str, out: Path) -> Path:
        calls.append((path.name, layout, path.read_bytes()))
        out.write_bytes(b'converted')
        return out

    monkeypatch.setattr(checkpoints, 'convert', convert)
    return calls


def publish(monkeypatch, url, sha256=DIGEST[:8]):
    monkeypatch.setitem(WEIGHTS, 'published', NamedWeights('for the test', 'torchvision', url, sha256))


def left_over(cache):
    return sorted(path.name for path in cache.rglob('*')) if cache.exists() else []


def test_published_weights_are_downloaded_checked_and_converted(publisher, cache, converted, monkeypatch):
    publish(monkeypatch, f'{publisher.url}/models/network_2019-0123.pth')
    with pytest.raises(FileNotFoundError, match='vis-ros weights fetch published'):
        resolve('published')
    reports = []
    path = fetch('published', lambda done, total: reports.append((done, total)))
    assert path == resolve('published') == cache / 'published.safetensors'
    assert path.read_bytes() == b'converted'
    assert converted == [('network_2019-0123.pth', 'torchvision', BODY)]
    assert reports[-1] == (len(BODY), len(BODY)) and len(reports) > 2
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert left_over(cache) == ['published.safetensors'], 'the checkpoint itself is not kept'


def test_existing_weights_are_not_downloaded_again(publisher, cache, converted, monkeypatch):
    publish(monkeypatch, f'{publisher.url}/network.pth')
    fetch('published')
    fetch('published')
    assert publisher.requests == ['/network.pth']


def test_a_server_that_does_not_report_the_size(publisher, converted, monkeypatch):
    publish(monkeypatch, f'{publisher.url}/unsized.pth', DIGEST.upper())
    reports = []
    fetch('published', lambda done, total: reports.append((done, total)))
    assert reports[-1] == (len(BODY), 0)


@pytest.mark.parametrize(
    ('path', 'sha256', 'error', 'message'),
    [
        ('network.pth', '00000000', ValueError, f'SHA-256 {DIGEST}, which does not start with the published 00000000'),
        ('truncated.pth', DIGEST[:8], OSError, f'interrupted after {len(BODY) // 2} of {len(BODY)} bytes'),
        ('missing.pth', DIGEST[:8], OSError, '404 Not Found.*vis-ros weights convert'),
    ],
)
def test_a_failed_download_leaves_no_file(publisher, cache, converted, monkeypatch, path, sha256, error, message):
    publish(monkeypatch, f'{publisher.url}/{path}', sha256)
    with pytest.raises(error, match=message):
        fetch('published')
    assert converted == [] and left_over(cache) == []


def test_a_failed_conversion_leaves_no_file(publisher, cache, monkeypatch):
    publish(monkeypatch, f'{publisher.url}/network.pth')
    with pytest.raises(ValueError, match=r'network\.pth'):  # the real converter: these bytes are no checkpoint
        fetch('published')
    assert left_over(cache) == []


def test_no_network(publisher, cache, monkeypatch):
    publish(monkeypatch, 'http://127.0.0.1:1/network.pth')
    with pytest.raises(OSError, match=r'(?i)127\.0\.0\.1:1/network\.pth: .*refused.*by hand'):
        fetch('published')
    assert left_over(cache) == []


def test_every_entry_has_a_url_and_a_digest():
    for name, row in WEIGHTS.items():
        if row.url:
            assert row.url.startswith('https://') and row.url.endswith(f'-{row.sha256}.pth'), name
            assert len(row.sha256) == 8 and int(row.sha256, 16) >= 0
            assert row.layout in LAYOUTS
            assert path_of(name).name == f'{name}.safetensors'
        else:
            assert path_of(name).parent == Path(weights.__file__).parents[1] / 'weights'
    assert len({row.url for row in WEIGHTS.values()}) == len(WEIGHTS)


def test_resolve_a_path(tmp_path):
    (tmp_path / 'mine.safetensors').write_bytes(b'')
    assert resolve(tmp_path / 'mine.safetensors') == tmp_path / 'mine.safetensors'
    (tmp_path / 'mine.pth').write_bytes(b'')
    with pytest.raises(ValueError, match=r'vis-ros weights convert .*mine\.pth'):
        resolve(str(tmp_path / 'mine.pth'))
    with pytest.raises(FileNotFoundError, match=r'nowhere\.safetensors is neither a file nor .*demo, coco_r50'):
        resolve('nowhere.safetensors')
    with pytest.raises(ValueError, match="no weights 'coco'; known names are demo"):
        fetch('coco')


def test_the_default_cache_is_in_the_home_directory(monkeypatch, tmp_path):
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert path_of('coco_r50') == tmp_path / '.cache' / 'vis_ros' / 'coco_r50.safetensors'
