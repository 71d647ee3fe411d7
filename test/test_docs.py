"""What README and doc/ say about files, links, commands, options and settings is true."""

import ast
import importlib.util
import json
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import typer
import yaml
from safetensors import safe_open

from vis_ros.cli.main import app
from vis_ros.synthetic.coco_images import SUPERCATEGORY_OF
from vis_ros.tracking.class_scores import parse_classes
from vis_ros.tracking.settings import NodeSettings, setting
from vis_ros.training.train_config import TrainConfig

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'doc').rglob('*.md'))]

LINK = re.compile(r'!?\[[^\]]*\]\(([^)\s]+)\)')
FENCE = re.compile(r'^```(\w*)\n(.*?)^```', re.MULTILINE | re.DOTALL)
CODE = re.compile(r'`([^`\n]+)`')
FOLDERS = ('benchmarks', 'config', 'doc', 'examples', 'launch', 'msg', 'srv', 'test', 'vis_ros')
INTERFACE = re.compile(r'vis_ros/((msg|srv)/\w+)$')
REPOSITORY_PATH = re.compile(rf'(?:{"|".join(FOLDERS)})/[\w./*-]+')
LAUNCH_ARGUMENT = re.compile(r'(?<!\S)([a-z_]+):=')
REMAPPED = {'image'}
DEBIAN_NAMES = {'opencv-python-headless': 'opencv', 'pyyaml': 'yaml'}


def name(page):
    return str(page.relative_to(ROOT))


pages = pytest.mark.parametrize('page', PAGES, ids=name)


@cache
def text(page):
    return page.read_text(encoding='utf-8')


@cache
def anchors(page):
    """The anchors of the headings of a page, as both GitHub and MkDocs make them."""
    prose = FENCE.sub('', text(page))
    titles = [re.sub(r'[`*]', '', title) for title in re.findall(r'^#+ (.+)$', prose, re.MULTILINE)]
    return {re.sub(r'\s+', '-', re.sub(r'[^\w\s-]', '', title.lower()).strip()) for title in titles}


def snippets(page):
    """The lines of all code blocks, and all inline code."""
    content = text(page)
    yield from (line for _, block in FENCE.findall(content) for line in block.splitlines())
    yield from re.findall(r'^    (\S.*)$', FENCE.sub('', content), re.MULTILINE)
    yield from CODE.findall(FENCE.sub('', content))


def commands(page):
    """Every vis-ros command as a list of words."""
    continued = False
    words = []
    for line in snippets(page):
        for part in re.split(r'&&|\|\||;', line.split('  #')[0]):
            if not continued and not part.strip().startswith('vis-ros '):
                continue
            words = [*words, *shlex.split(part.removesuffix('\\'), comments=True)]
            continued = line.endswith('\\')
            if not continued:
                yield words[1:]
                words = []


@pages
def test_links_lead_somewhere(page):
    for target in LINK.findall(FENCE.sub('', text(page))):
        if target.startswith(('http://', 'https://')):
            continue
        path, _, anchor = target.partition('#')
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f'{name(page)}: {target}'
        assert not anchor or anchor in anchors(file), f'{name(page)}: {target}; there are {sorted(anchors(file))}'
        outside = page.parent != ROOT and not file.is_relative_to(ROOT / 'doc')
        assert not outside, f'{name(page)}: {target} is not part of the site'


@pages
def test_files_that_are_named_exist(page):
    for snippet in snippets(page):
        if 'share/vis_ros' in snippet:
            continue
        for path in REPOSITORY_PATH.findall(snippet):
            path = INTERFACE.sub(r'\1.\2', path.rstrip('./'))
            assert list(ROOT.glob(path)), f'{name(page)}: {snippet}'
    for module in re.findall(r'python -m (benchmarks\S*|vis_ros\S*)', text(page)):
        assert importlib.util.find_spec(module.rstrip('`.,')), f'{name(page)}: python -m {module}'


def test_modules_of_the_architecture_exist():
    for line in text(ROOT / 'doc' / 'architecture.md').splitlines():
        found = re.match(r'\| \d+ \| `([\w/]+\.py)`(?: `([\w.]+)`)? \|', line)
        if found:
            path = ROOT / 'vis_ros' / found[1]
            assert path.is_file(), line
            for part in (found[2] or '').split('.'):
                assert re.search(rf'\b(def|class) {part}\b', path.read_text()) or not part, line


def test_statements_about_propagation_have_files_and_tests():
    section = text(ROOT / 'doc' / 'propagation.md').split('## What holds each statement')[1]
    rows = [line.strip('|').split('|') for line in section.splitlines() if line.startswith('| ')][1:]
    assert len(rows) > 20
    tests = {path.name: path.read_text() for path in (ROOT / 'test').rglob('test_*.py')}
    for statement, where, held_by in rows:
        files, named = re.findall(r'`([\w/]+\.py)`', where), re.findall(r'`(test_\w+)(\.py)?`', held_by)
        assert files and named, statement
        for file in files:
            assert any((ROOT / folder / file).is_file() for folder in ('vis_ros', 'vis_ros/propagation')), file
        here = ''.join(tests.values())
        for test, is_file in named:
            if is_file:
                here = tests[f'{test}.py']
            else:
                assert f'def {test}(' in here, f'{test} of: {statement}'


@pages
def test_commands_and_options_exist(page):
    program = typer.main.get_command(app)
    for words in commands(page):
        command, rest = program, list(words)
        while rest and isinstance(command, typer.core.TyperGroup) and not rest[0].startswith('-'):
            assert rest[0] in command.commands, f'{name(page)}: vis-ros {" ".join(words)}'
            command = command.commands[rest.pop(0)]
        rest = rest[: rest.index('--ros-args')] if '--ros-args' in rest else rest
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        given = [word.partition('=')[0] for word in rest if word.startswith('--')]
        assert set(given) <= known | {'--help', '--version'}, f'{name(page)}: vis-ros {" ".join(words)}'


def demo_classes():
    with safe_open(ROOT / 'vis_ros/weights/demo.safetensors', 'np') as file:
        return set(json.loads(file.metadata()['vis_ros.model'])['class_names'])


@pages
def test_classes_in_commands_are_classes_of_the_demo(page):
    for words in commands(page):
        if '--classes' in words:
            assert parse_classes(words[words.index('--classes') + 1]).keys() <= demo_classes(), name(page)


def test_the_example_of_the_setting_classes_works_with_the_demo():
    (example,) = re.findall(r"'([^']+)'", setting(NodeSettings.__dataclass_fields__['classes']).description)
    assert parse_classes(example).keys() <= demo_classes()


def test_the_page_about_photos_counts_the_categories_that_the_demo_knows():
    known = demo_classes() & SUPERCATEGORY_OF.keys()
    assert f'know {len(known)} of the {len(SUPERCATEGORY_OF)} COCO categories by name' in text(ROOT / 'doc/photos.md')


@pages
def test_launch_arguments_exist(page):
    declared = set(re.findall(r"'([a-z_]+)'", ''.join(file.read_text() for file in (ROOT / 'launch').glob('*.py'))))
    settings = set(NodeSettings.__dataclass_fields__) | REMAPPED
    for snippet in snippets(page):
        for argument in LAUNCH_ARGUMENT.findall(snippet):
            assert argument in declared | settings, f'{name(page)}: {snippet}'


@pages
def test_python_is_python(page):
    for language, block in FENCE.findall(text(page)):
        if language == 'python':
            ast.parse(block)


@pages
def test_yaml_is_a_training_config(page):
    for language, block in FENCE.findall(text(page)):
        if language == 'yaml':
            assert TrainConfig.from_dict(yaml.safe_load(block)).steps > 0


def test_the_page_of_the_node_has_every_parameter_and_field():
    page = text(ROOT / 'doc' / 'node.md')
    named = {part for code in CODE.findall(FENCE.sub('', page)) for part in re.findall(r'[a-z_0-9.]+', code)}
    assert set(NodeSettings.__dataclass_fields__) <= named
    for file in (*(ROOT / 'msg').glob('*.msg'), *(ROOT / 'srv').glob('*.srv')):
        fields = re.findall(r'^[\w/\[\]]+ ([a-z_]+)(?: *#.*)?$', file.read_text(), re.MULTILINE)
        assert fields and set(fields) <= named, f'{file.name}: {set(fields) - named}'


def test_the_readme_installs_what_rosdep_does_not():
    dependencies = re.search(r'^dependencies = \[\n(.*?)^\]', (ROOT / 'pyproject.toml').read_text(), re.M | re.S)[1]
    names = set(re.findall(r"^    '(?!ros-)([\w-]+)", dependencies, re.MULTILINE))
    package = (ROOT / 'package.xml').read_text()
    by_rosdep = {name for name in names if f'>python3-{DEBIAN_NAMES.get(name, name)}<' in package}
    installed = re.search(r'^venv/bin/pip install (.*)$', text(ROOT / 'README.md'), re.MULTILINE)[1]
    assert len(by_rosdep) > 4 and names - by_rosdep <= set(re.findall(r'[\w-]+', installed))


def test_each_page_is_in_the_navigation():
    listed = re.findall(r': ([\w/]+\.md)$', (ROOT / 'mkdocs.yml').read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(str(page.relative_to(ROOT / 'doc')) for page in PAGES[1:])
