"""Fine-tune the packaged weights on labeled images (COCO JSON), then track with the result. Needs the extra `train`.

python examples/finetune_on_own_images.py images/ annotations.json run/ 2000      # steps
"""

import sys
from pathlib import Path

import yaml

import vis_ros
from vis_ros.training.trainer import train


def main(images: str, annotations: str, folder: str, steps: str) -> None:
    source = {'images': images, 'annotations': annotations, 'classes': 'categories'}
    config = {
        'out': folder,
        'weights': 'demo',
        'model': {'name': 'mine'},
        'data': [
            {'kind': 'composites', 'weight': 0.7, 'part': 'training', **source},  # object crops that move over images
            {'kind': 'images', 'weight': 0.3, 'part': 'training', **source},  # whole images
        ],
        'validation': {'data': {'kind': 'composites', 'part': 'held-out', **source}, 'videos': 4, 'frames': 10},
        'steps': int(steps),
    }
    path = Path(f'{folder}.yaml')  # the same file works with `vis-ros train`
    path.write_text(yaml.safe_dump(config))
    weights = train(path)  # started again, an interrupted run continues
    print(f'{weights} knows {", ".join(vis_ros.load(weights, engine="torch").class_names)}')


if __name__ == '__main__':
    main(*sys.argv[1:])
