"""Named weights: what is packaged, what can be fetched from its publisher, and where both lie.

Nothing is ever downloaded at launch: `resolve` only looks, `fetch` is for `vis-ros weights fetch`.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vis_ros.extras import require

_TIMEOUT_S = 30.0
_BLOCK = 1 << 20

Progress = Callable[[int, int], None]
"""Called with the bytes that have arrived and those there are (0 where the server does not say)."""


@dataclass(frozen=True)
class NamedWeights:
    """One row of the table.

    description: network, data set and the accuracy that its publisher reports.
    layout: of the published checkpoint, a name of `vis_ros.networks.checkpoints.LAYOUTS`.
    url: of the published checkpoint; empty for packaged weights.
    sha256: hexadecimal digest of the published file, or as much of it as its publisher states in the file's name.
    """

    description: str
    layout: str = ''
    url: str = ''
    sha256: str = ''


def _masktrack_rcnn(backbone: str, year: int, file: str, description: str) -> NamedWeights:
    folder = f'masktrack_rcnn_{backbone}_fpn_12e_youtubevis{year}'
    return NamedWeights(
        description=description,
        layout='mmdet',
        url=f'https://download.openmmlab.com/mmtracking/vis/masktrack_rcnn/{folder}/{folder}_{file}.pth',
        sha256=file.rsplit('-', 1)[1],
    )


WEIGHTS: Mapping[str, NamedWeights] = {
    'demo': NamedWeights('MaskTrack R-CNN, EfficientNet-Lite0, COCO supercategories; packaged, made by vis-ros train'),
    'coco_r50': NamedWeights(
        description='Mask R-CNN, ResNet-50, COCO: 37.9 box AP, 34.6 mask AP (torchvision)',
        layout='torchvision',
        url='https://download.pytorch.org/models/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth',
        sha256='bf2d0c1e',
    ),
    'youtubevis2019_r50': _masktrack_rcnn(
        'r50', 2019, '20211022_194830-6ca6b91e', 'MaskTrack R-CNN, ResNet-50, YouTube-VIS 2019: 30.2 AP (mmtracking)'
    ),
    'youtubevis2019_r101': _masktrack_rcnn(
        'r101', 2019, '20211023_150038-454dc48b', 'MaskTrack R-CNN, ResNet-101, YouTube-VIS 2019: 32.2 AP (mmtracking)'
    ),
    'youtubevis2019_x101': _masktrack_rcnn(
        'x101', 2019, '20211023_153205-fff7a102', 'MaskTrack R-CNN, ResNeXt-101, YouTube-VIS 2019: 34.7 AP (mmtracking)'
    ),
    'youtubevis2021_r50': _masktrack_rcnn(
        'r50', 2021, '20211026_044948-10da90d9', 'MaskTrack R-CNN, ResNet-50, YouTube-VIS 2021: 28.7 AP (mmtracking)'
    ),
    'youtubevis2021_r101': _masktrack_rcnn(
        'r101', 2021, '20211026_045509-3c49e4f3', 'MaskTrack R-CNN, ResNet-101, YouTube-VIS 2021: 31.3 AP (mmtracking)'
    ),
    'youtubevis2021_x101': _masktrack_rcnn(
        'x101', 2021, '20211026_095943-90831df4', 'MaskTrack R-CNN, ResNeXt-101, YouTube-VIS 2021: 33.5 AP (mmtracking)'
    ),
}
"""Name -> weights."""


def path_of(name: str) -> Path:
    """Where the model file of named weights lies, or would lie once fetched."""
    if not WEIGHTS[name].url:
        return Path(__file__).resolve().parents[1] / 'weights' / f'{name}.safetensors'
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    return cache / 'vis_ros' / f'{name}.safetensors'


def resolve(name_or_path: str | Path) -> Path:
    """The model file of packaged or fetched weights, by name, or of any other, by path.

    Raises:
        FileNotFoundError: it is not there; the message says which command fetches it.
        ValueError: it is not a model file; the message says which command makes one.
    """
    name = str(name_or_path)
    if name in WEIGHTS:
        path = path_of(name)
        if path.is_file():
            return path
        if WEIGHTS[name].url:
            raise FileNotFoundError(
                f'the weights {name} are not on this machine; fetch them: vis-ros weights fetch {name}'
            )
        raise FileNotFoundError(f'the packaged weights {name} are missing ({path}): install vis_ros again')
    path = Path(name_or_path)
    if not path.is_file():
        raise FileNotFoundError(
            f'{name} is neither a file nor the name of weights ({", ".join(WEIGHTS)}); '
            'to fetch published ones: vis-ros weights fetch NAME'
        )
    if path.suffix != '.safetensors':
        raise ValueError(f'{path} is not a model file (.safetensors); convert it: vis-ros weights convert {path}')
    return path


def fetch(name: str, on_progress: Progress = lambda done, total: None) -> Path:
    """Download published weights, check them, convert them, and put them where `resolve` finds them.

    The model file appears whole or not at all. Weights that are here already are not fetched again.

    Raises:
        ValueError: no such name, what arrived is not what was published, or torch is not installed.
        OSError: the publisher cannot be reached or refuses.
    """
    if name not in WEIGHTS:
        raise ValueError(f'there are no weights {name!r}; there are {", ".join(WEIGHTS)}')
    target = path_of(name)
    if target.is_file():
        return target
    weights = WEIGHTS[name]
    if not weights.url:
        return resolve(name)
    require('torch', f'turning the published {name} into a model file')
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'{name}-', dir=target.parent) as folder:
        checkpoint = Path(folder) / weights.url.rsplit('/', 1)[1]  # its name tells the loader the data set
        _download(weights, checkpoint, on_progress)
        from vis_ros.networks import checkpoints

        model = checkpoints.convert(checkpoint, weights.layout, checkpoint.with_suffix('.safetensors'))
        os.replace(model, target)
    return target


def _download(weights: NamedWeights, path: Path, on_progress: Progress) -> None:
    by_hand = 'To do it by hand, download that file and run: vis-ros weights convert FILE'
    try:
        request = urllib.request.Request(weights.url, headers={'User-Agent': 'vis_ros'})
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response, path.open('wb') as file:
            total = int(response.headers.get('Content-Length') or 0)
            size, digest = _copy(response, file, total, on_progress)
    except urllib.error.HTTPError as error:
        raise OSError(f'{weights.url}: the server answers {error.code} {error.reason}. {by_hand}') from error
    except http.client.HTTPException as error:
        raise OSError(f'{weights.url}: the connection broke off ({error!r}); try again') from error
    except OSError as error:  # no route, no name, refused, timed out, disk full
        raise OSError(f'{weights.url}: {getattr(error, "reason", error)}. {by_hand}') from error
    if size < total:
        raise OSError(f'{weights.url}: the connection broke off after {size} of {total} bytes; try again')
    if not digest.startswith(weights.sha256.lower()):
        raise ValueError(
            f'{weights.url}: the file of {size} bytes has SHA-256 {digest}, which does not begin with the published '
            f'{weights.sha256}. It is damaged or another file, and was thrown away'
        )


def _copy(response: BinaryIO, file: BinaryIO, total: int, on_progress: Progress) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    while block := response.read(_BLOCK):
        file.write(block)
        digest.update(block)
        size += len(block)
        on_progress(size, total)
    return size, digest.hexdigest()
