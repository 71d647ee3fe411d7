"""Named weights: those in the package, and published ones that can be downloaded.

Nothing is downloaded at start-up: `resolve` only looks for files, and `fetch` is called by `vis-ros weights fetch`.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from vis_ros.extras import require
from vis_ros.scratch import ScratchFolder
from vis_ros.user_cache import user_cache

_TIMEOUT_S = 30.0
_BLOCK_BYTES = 1 << 20
_LARGEST_DOWNLOAD = 1 << 30
"""Bytes; the largest published checkpoint has half of it."""

Progress = Callable[[int, int], None]
"""Called with the number of bytes received and the total number (0 if the server does not report it)."""


@dataclass(frozen=True)
class NamedWeights:
    """Weights that can be loaded by name.

    Attributes:
        description: network, data set and published accuracy.
        layout: of the published checkpoint, a name from `vis_ros.networks.checkpoint_layouts.LAYOUTS`.
        url: of the published checkpoint; empty for packaged weights.
        sha256: hexadecimal digest of the published file, or the first digits of it, which publishers put in file names.
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
    'demo': NamedWeights('MaskTrack R-CNN on NanoDet-Plus-m, 76 classes and objects; packaged, made by vis-ros train'),
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
    """The path of the model file of named weights, which may not be downloaded yet."""
    if not WEIGHTS[name].url:
        return Path(__file__).resolve().parents[1] / 'weights' / f'{name}.safetensors'
    return user_cache() / f'{name}.safetensors'


def resolve(name_or_path: str | Path) -> Path:
    """The path of a model file, given by the name of weights or by its path.

    Raises:
        FileNotFoundError: the file does not exist; the message has the command that downloads it.
        ValueError: the file is not a model file; the message has the command that converts it.
    """
    name = str(name_or_path)
    if name in WEIGHTS:
        path = path_of(name)
        if path.is_file():
            return path
        if WEIGHTS[name].url:
            raise FileNotFoundError(
                f'the weights {name} are not on this machine; download them: vis-ros weights fetch {name}'
            )
        raise FileNotFoundError(f'the packaged weights {name} are missing ({path}): reinstall vis_ros')
    path = Path(name_or_path)
    if not path.is_file():
        raise FileNotFoundError(
            f'{name} is neither a file nor the name of weights ({", ".join(WEIGHTS)}). '
            'To download published weights: vis-ros weights fetch NAME'
        )
    if path.suffix != '.safetensors':
        raise ValueError(f'{path} is not a model file (.safetensors); convert it: vis-ros weights convert {path}')
    return path


def fetch(name: str, on_progress: Progress = lambda done, total: None) -> Path:
    """Download published weights, check their digest, and convert them to a model file.

    The model file appears complete or not at all. Weights that exist already are not downloaded again.

    Args:
        name: a key of WEIGHTS.
        on_progress: called during the download.

    Returns:
        The path of the model file.

    Raises:
        ValueError: the name is unknown, the downloaded file is not the published one, or torch is not installed.
        OSError: the server cannot be reached or rejects the request.
    """
    if name not in WEIGHTS:
        raise ValueError(f'there are no weights {name!r}; known names are {", ".join(WEIGHTS)}')
    target = path_of(name)
    if target.is_file():
        return target
    weights = WEIGHTS[name]
    if not weights.url:
        return resolve(name)
    require('torch', f'converting {name} to a model file')
    target.parent.mkdir(parents=True, exist_ok=True)
    with ScratchFolder(target.parent) as folder:
        checkpoint = folder / weights.url.rsplit('/', 1)[1]  # `convert` finds the data set in this name
        _download(weights, checkpoint, on_progress)
        from vis_ros.networks import checkpoints

        model = checkpoints.convert(checkpoint, weights.layout, checkpoint.with_suffix('.safetensors'))
        os.replace(model, target)
    return target


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Refuses a redirect from https to anything else, which a third party could read and replace."""

    def redirect_request(self, req: urllib.request.Request, *arguments: Any) -> urllib.request.Request | None:
        target = str(arguments[-1])
        if req.type == 'https' and not target.lower().startswith('https:'):
            raise OSError(f'the server redirects to {target}, which is not encrypted')
        return super().redirect_request(req, *arguments)


def _download(weights: NamedWeights, path: Path, on_progress: Progress) -> None:
    by_hand = 'To do it by hand, download this file and run: vis-ros weights convert FILE'
    try:
        request = urllib.request.Request(weights.url, headers={'User-Agent': 'vis_ros'})
        opener = urllib.request.build_opener(_NoDowngrade)
        with opener.open(request, timeout=_TIMEOUT_S) as response, path.open('wb') as file:
            length = response.headers.get('Content-Length') or ''
            total = int(length) if length.isdecimal() else 0
            if total > _LARGEST_DOWNLOAD:
                raise OSError(f'the server offers {total} bytes, more than the limit of {_LARGEST_DOWNLOAD}')
            size, digest = _copy(response, file, total, on_progress)
    except urllib.error.HTTPError as error:
        raise OSError(f'{weights.url}: the server responds {error.code} {error.reason}. {by_hand}') from error
    except http.client.HTTPException as error:
        raise OSError(f'{weights.url}: the connection was interrupted ({error!r}); try again') from error
    except OSError as error:  # no route, unknown host, connection refused, timeout, disk full
        raise OSError(f'{weights.url}: {getattr(error, "reason", error)}. {by_hand}') from error
    if size < total:
        raise OSError(f'{weights.url}: the connection was interrupted after {size} of {total} bytes; try again')
    if not digest.startswith(weights.sha256.lower()):
        raise ValueError(
            f'{weights.url}: the file of {size} bytes has SHA-256 {digest}, which does not start with the published '
            f'{weights.sha256}. It is damaged or another file, and was deleted'
        )


def _copy(response: BinaryIO, file: BinaryIO, total: int, on_progress: Progress) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    while block := response.read(_BLOCK_BYTES):
        file.write(block)
        digest.update(block)
        size += len(block)
        if size > _LARGEST_DOWNLOAD:
            raise OSError(f'the server sends more than the limit of {_LARGEST_DOWNLOAD} bytes')
        on_progress(size, total)
    return size, digest.hexdigest()
