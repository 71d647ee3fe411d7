"""Annotations in the bag of a replay, decoded by mcap's own reader and drawn again."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from helpers.made_library import job, run, write_images
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from vis_ros.instances import BRIDGED, CONFIRMED, LOST, TENTATIVE, Instances
from vis_ros.recordings.plain_messages import plain_header, plain_message
from vis_ros.ros.image_annotations import to_annotations
from vis_ros.visualization import identity_color


def ring() -> np.ndarray:
    mask = np.zeros((480, 640), np.uint8)
    cv2.circle(mask, (300, 200), 90, 1, -1)
    cv2.circle(mask, (300, 200), 40, 0, -1)
    return mask


def instances(masks: list[np.ndarray], states: list[int]) -> Instances:
    count = len(masks)
    made = Instances.from_masks(np.array(masks), np.zeros(count, int), np.full(count, 0.75), ('person',))
    return made.with_fields(track_ids=np.arange(1, count + 1), states=np.array(states))


def annotations(found: Instances):
    return to_annotations(found, plain_header(5 * 10**9 + 7, '').stamp, plain_message)


def test_the_outlines_are_those_of_the_mask_and_holes_are_not_filled() -> None:
    message = annotations(instances([ring()], [CONFIRMED]))
    drawn = np.zeros((480, 640), np.uint8)
    assert len(message.points) == 2
    for outline in sorted(message.points, key=lambda each: -each.fill_color.a):
        points = np.array([(point.x, point.y) for point in outline.points], np.int32)
        cv2.fillPoly(drawn, [points], int(outline.fill_color.a > 0))
    assert (drawn & ring()).sum() / (drawn | ring()).sum() > 0.97
    color = message.points[0].outline_color
    assert tuple(round(255 * part) for part in (color.b, color.g, color.r)) == identity_color(1) and color.a == 1


def test_labels_and_stamps() -> None:
    (text,) = annotations(instances([ring()], [CONFIRMED])).texts
    assert text.text == '1 person 0.75' and (text.position.x, text.position.y) == (210, 110)
    assert (text.timestamp.sec, text.timestamp.nanosec) == (5, 7)


def test_lost_tracks_have_none_and_uncertain_ones_are_not_filled() -> None:
    message = annotations(instances([ring()] * 4, [CONFIRMED, LOST, TENTATIVE, BRIDGED]))
    assert [text.text[0] for text in message.texts] == ['1', '3', '4']
    assert [max(each.fill_color.a for each in message.points[at : at + 2]) > 0 for at in (0, 2, 4)] == [
        True,
        False,
        False,
    ]


def test_the_bag_of_a_replay_is_read_by_mcap(tmp_path: Path) -> None:
    write_images(tmp_path / 'images', count=3)
    run(tmp_path / 'images', job(tmp_path / 'out'))
    (bag,) = tmp_path.glob('out/*/bag/*.mcap')
    with bag.open('rb') as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        found = [message for *_, message in reader.iter_decoded_messages(topics=['/vis_node/annotations'])]
    assert [len(message.texts) for message in found] == [2, 2, 2]
    for message in found:
        areas = [cv2.contourArea(np.array([(p.x, p.y) for p in each.points], np.float32)) for each in message.points]
        assert all(math.isclose(area, expected, rel_tol=0.3) for area, expected in zip(areas, (90, 108), strict=True))


def test_nothing_without_tracks() -> None:
    message = annotations(Instances.empty((480, 640)))
    assert not message.points and not message.texts
