"""HTTP/2 as RFC 7540 and RFC 7541 (HPACK) have it: the cases of h2spec, which break the rules one at a time."""
import re
import subprocess
import xml.etree.ElementTree as xml

import pytest
from support import config as c

pytestmark = pytest.mark.timeout(400, func_only=True)  # a case that is not answered costs h2spec its 2 s
CASES, GOOD_ENOUGH = 145, 143


def failed_cases(report):
    """(number of cases, the failed ones in words) of h2spec's JUnit report, which quotes what was received byte for byte."""
    text = re.sub(r"[^\t\n\x20-\x7e]", "?", report.read_text(errors="replace"))
    cases = list(xml.fromstring(text).iter("testcase"))
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    return len(cases), [f"{x.get('package')} {x.get('classname')}: {' '.join(''.join(x.itertext()).split())}" for x in failed]


@pytest.mark.parametrize("over", ["clear", "tls"])
def test_at_least_143_of_the_145_cases_of_h2spec_pass(lab, h2spec, over, tmp_path, capsys):
    chain = {"tls": c.downstream_tls(require=False, cert=lab.ca().issue("server"), alpn=["h2"])} if over == "tls" else {}
    proxy = lab.http(lab.origin(), chain=chain, codec_type="HTTP2")
    report = tmp_path / "report.xml"
    command = [h2spec, "--host", "127.0.0.1", "--port", str(proxy.port), "--junit-report", report]
    done = subprocess.run(command + (["--tls", "--insecure"] if over == "tls" else []), capture_output=True, text=True, timeout=350)
    assert report.exists(), done.stdout + done.stderr
    total, failed = failed_cases(report)
    with capsys.disabled():
        print(f"\nh2spec over {over}: {total - len(failed)} of {total} cases pass", *failed, sep="\n  ")
    proxy.check_alive()
    assert total == CASES
    assert total - len(failed) >= GOOD_ENOUGH
