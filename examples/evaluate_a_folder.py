"""Score the results of `vis-ros replay` against labels, and list the videos from worst to best.

vis-ros replay JPEGImages/ --out run
python examples/evaluate_a_folder.py run annotations.json      # or a DAVIS folder, MOTS text, or a bag
"""

import sys

from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.evaluation.evaluate_results import evaluate


def main(results: str, labels: str) -> None:
    truth = open_annotations(labels)
    evaluation = evaluate(open_annotations(results, truth=truth), truth)
    print('All videos:', {name: round(value, 3) for name, value in evaluation.agnostic.items()})
    for sentence in evaluation.coverage.statements():  # how many frames, and what was left out
        print(sentence)
    for video, scores in sorted(evaluation.per_video.items(), key=lambda item: item[1]['J']):
        print(f'{video}: J {scores["J"]:.3f}, {scores["IDSW"]} id switches')


if __name__ == '__main__':
    main(*sys.argv[1:])
