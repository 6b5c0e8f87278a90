"""The pages in a real browser: what is shown, at desktop and phone width, and no error."""

import shutil

import numpy as np
import pytest

from myosynth.app.report import write_audit, write_comparison, write_report
from myosynth.evaluation import evaluate
from myosynth.evaluation.privacy import Attack, Audit, Canary, Principle, Threat
from myosynth.recordings import SegmentSet

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("chromium and chromium-driver are not installed (apt-get install both)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--disable-background-networking"):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    window = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield window
    window.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    out = tmp_path_factory.mktemp("pages")
    parts = []
    for split, seed in (("train", 1), ("holdout", 2), ("", 3)):
        for person in range(5):
            rng = np.random.default_rng([seed, person])
            for task, gain in (("pull", 2e-3), ("a_task_of_a_very_long_name", 8e-4)):
                own = gain * np.exp(0.4 * np.random.default_rng(person).standard_normal())
                signals = own * rng.standard_normal((8, 2, 500))
                parts.append(SegmentSet(signals.astype(np.float32), 500.0, task, split=split,
                                        subject=f"p{person}" if split else ""))  # fmt: skip
    both = SegmentSet.concatenate(parts)
    real, made = both[np.flatnonzero(both.split != "")], both[np.flatnonzero(both.split == "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("myosynth.evaluation.distances.N_TREES", 8)
        scores = evaluate(real, made, n_bootstrap=20, n_repeats=3, n_jobs=1)
    write_report(scores, real, made, out, provenance={"seed": 0, "inputs": [{"sha256": "a" * 64}]})
    write_comparison({"first": scores, "second": scores}, out)
    attack = Attack("stft", "segment", "tpr", 0.02, 0.01, "Few.", low=0.01, high=0.05)
    canary = Canary("noise", 0.05, "fingerprints", 15, 0.97, 0.8, 1.0, 14, True)
    data = Threat("none_found", "Nothing.", "Go on.", 0.97, "Share.", 0, [attack], [canary])
    model = Threat("not_tested", "No model.", "Give one.")
    write_audit(
        Audit({"data": data, "model": model}, [Principle("inference", "no_power", "x", [])]),
        out,
        provenance={},
    )
    return out


SECTIONS = {
    "report.html": ("answers", "findings", "tasks", "figures", "utility", "validity", "provenance",
                    "numbers"),
    "compare.html": ("verdicts", "charts", "utility", "findings", "numbers"),
    "audit.html": ("answers", "principles", "data", "limits", "provenance"),
}  # fmt: skip


@pytest.mark.parametrize("name", SECTIONS)
@pytest.mark.parametrize("width", [1200, 390])
def test_a_page_shows_all_its_sections_without_errors(name, width, browser, pages):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get_log("browser"), browser.get_log("performance")
    browser.get((pages / name).as_uri())
    assert [line for line in browser.get_log("browser") if line["level"] != "INFO"] == []
    requests = [one["message"] for one in browser.get_log("performance")
                if "Network.requestWillBeSent" in one["message"]]  # fmt: skip
    assert not [one for one in requests if '"url":"http' in one]
    for section in SECTIONS[name]:
        element = browser.find_element("id", section)
        assert element.is_displayed()
        assert element.size["height"] > 40
        assert element.text.strip()
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_dots_stand_where_the_scores_say(browser, pages):
    """A dot's place on the drawn axis, measured in the browser, gives back its z."""
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get((pages / "report.html").as_uri())
    places = browser.execute_script(
        "return [...document.querySelectorAll('.track')].map(track => {"
        "  const dot = track.querySelector('.dot'); if (!dot) return null;"
        "  const box = track.getBoundingClientRect(), own = dot.getBoundingClientRect();"
        "  return [(own.left + own.width / 2 - box.left) / box.width,"
        "          dot.title, own.top >= box.top - 4 && own.bottom <= box.bottom + 4]; })"
    )
    found = [place for place in places if place]
    assert len(found) >= 6
    for share, title, inside in found:
        z = float(title.split("z = ")[1].split(",")[0])
        assert -1 + 4 * share == pytest.approx(min(3.0, max(-1.0, z)), abs=0.02)
        assert inside


def test_figures_are_drawn_at_their_size(browser, pages):
    browser.get((pages / "report.html").as_uri())
    figures = browser.find_elements("css selector", ".figure > svg")
    shown = [one for one in figures if one.is_displayed()]
    assert len(shown) >= 4
    for figure in shown:
        assert figure.size["width"] > 500
        assert figure.size["height"] > 150
    browser.find_element("css selector", "#numbers summary").click()
    assert browser.find_element("id", "rows").is_displayed()
