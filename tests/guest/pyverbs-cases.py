# SPDX-License-Identifier: GPL-2.0
"""
Run the test suite of rdma-core as it is, and leave a line for each case:
    pyverbs-cases.py TESTS OUT GID [CASE...]
TESTS is the folder of run_tests.py, OUT gets "VERDICT SECONDS CASE # REASON" with
ok, skip or fail. Without a GID the suite would look for one before each case, in a
table of a thousand.
"""
import functools
import random
import runpy
import sys
import time
import unittest


class Verdicts(unittest.TextTestResult):
    """What unittest prints anyway, and a line of ours once a case is through."""
    out = None

    def say(self, verdict, case, seconds, reason):
        reason = ' '.join(str(reason).split())[-300:]
        self.out.write(f'{verdict} {seconds:.2f} {case} # {reason}\n')
        self.out.flush()

    # What two programs are asked for before each case does not change in between.
    def startTestRun(self):
        super().startTestRun()
        case = sys.modules['tests.base'].RDMATestCase
        for name in 'get_net_name', 'get_ip_mac_address':
            setattr(case, name, staticmethod(functools.lru_cache(getattr(case, name))))

    def startTest(self, test):
        super().startTest(test)
        self.running, self.verdict, self.start = test, ('fail', 'no verdict'), time.monotonic()
        # The suite draws its lengths and flags: the same for every kernel.
        random.seed(test.id())
        with open('/dev/kmsg', 'w') as kmsg:
            kmsg.write(f'pyverbs: {test.id()}\n')

    def stopTest(self, test):
        verdict, reason = self.verdict
        self.say(verdict, test.id(), time.monotonic() - self.start, reason)
        self.running = None
        super().stopTest(test)

    def judge(self, verdict, test, reason=''):
        # What setUpClass() fails of, or skips, no case is running for.
        if getattr(self, 'running', None) is None:
            self.say(verdict, test.id().replace(' ', '-'), 0, reason)
        else:
            self.verdict = verdict, reason

    def addSuccess(self, test):
        super().addSuccess(test)
        self.judge('ok', test)

    def addError(self, test, err):
        super().addError(test, err)
        self.judge('fail', test, err[1])

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.judge('fail', test, err[1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            self.judge('fail', test, err[1])

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.judge('skip', test, reason)

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.judge('ok', test)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.judge('fail', test, 'unexpected success')


def main():
    tests, out, gid, *cases = sys.argv[1:]
    Verdicts.out = open(out, 'w')
    unittest.TextTestRunner.resultclass = Verdicts
    sys.path[0] = tests
    sys.argv = [f'{tests}/run_tests.py', '--dev', 'rxe0', '--gid', gid, '--verbose', *cases]
    runpy.run_path(sys.argv[0], run_name='__main__')


main()
