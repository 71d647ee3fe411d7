"""The script that CMakeLists.txt generates for each executable, with a program that takes long to import."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import sys, time

print('importing' if {slow} else 'imported', flush=True)
time.sleep(60 if {slow} else 0)

def main():
    try:
        print('running', flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        return 7
"""


@pytest.mark.parametrize(('slow', 'when', 'code'), [(True, 'importing', -signal.SIGINT), (False, 'running', 7)])
def test_an_interrupt_leaves_no_traceback(tmp_path, slow, when, code):
    (template,) = re.findall(r'CONTENT "(#!.*?)"\)', (ROOT / 'CMakeLists.txt').read_text(), re.DOTALL)
    script = template.replace('@module@', 'program').replace('@function@', 'main')
    (tmp_path / 'script').write_text(script)
    (tmp_path / 'program.py').write_text(PROGRAM.format(slow=slow))
    with subprocess.Popen(
        [sys.executable, tmp_path / 'script'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        while process.stdout.readline().strip() != when:
            pass
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (code, '')
