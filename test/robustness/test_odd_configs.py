"""Training configs with values that a run would only fail on later, or take for something else."""

import pytest

from vis_ros.training.train_config import TrainConfig


@pytest.mark.parametrize(
    'text, told',
    [
        ('data: [{kind: scenes}]\nsteps: 5\nsteps: 6\n', "'steps' is there twice, in lines 2 and 3"),
        ('data: [{kind: scenes, weight: 1, weight: 2}]\n', "'weight' is there twice"),
        ('data: [{kind: scenes, classes: {a: [c], b: [c]}}]\n', "the category 'c' in 'a' and in 'b'"),
        ('data: [{kind: scenes, classes: {a: [1]}}]\n', 'put it in quotes'),
        ('data: [{kind: scenes, classes: {1: [a]}}]\n', 'has the name 1, which is no text'),
        ('data: [{kind: scenes, object_class: {left: 5}}]\n', 'data object_class is '),
        ('data: [{kind: scenes}]\nseed: 99999999999999999999\n', 'seed 99999999999999999999 is more'),
        ('data: [{kind: scenes}]\nimage_width: 10000000\n', 'image_width 10000000 is more than 32768'),
        ('data: [{kind: scenes}]\ndecay_steps: [5, 3]\n', 'ascending'),
        ('data: [{kind: scenes}]\ndecay_steps: [0]\n', 'positive'),
        ('data: [{kind: scenes}]\nwarm_up_from: 5\n', 'warm_up_from 5 is more than 1'),
        ('data: [{kind: scenes}]\nfrozen_blocks: -5\n', 'frozen_blocks -5 is less than -1'),
        ('data: [{kind: scenes}]\nmodel: {class_names: [cup, cup]}\n', 'a name twice'),
        ('data: [{kind: scenes}]\nmodel: {class_names: [""]}\n', 'without letters'),
        ('data: [{kind: scenes}]\nmodel: {architecture: [pts]}\n', r"model architecture is \['pts'\]"),
        ('data: [{kind: scenes}]\nvalidation: {data: {kind: scenes}, score_threshold: 5}\n', r'not in \[0, 1\]'),
    ],
)
def test_a_config_is_refused_before_the_run(tmp_path, text, told):
    path = tmp_path / 'train.yaml'
    path.write_text(text)
    with pytest.raises(ValueError, match=told):
        TrainConfig.read(path)


def test_aliases_and_merged_mappings_are_read(tmp_path):
    path = tmp_path / 'train.yaml'
    path.write_text('data:\n- &scenes {kind: scenes, weight: 2}\n- {<<: *scenes, weight: 1}\n')
    assert [source.weight for source in TrainConfig.read(path).data] == [2, 1]
