import subprocess
import sys

END_WITH = "import sys, time; from sam_adapt_ros.parallel.driver import end_with; end_with(int(sys.argv[1]))"


def test_a_process_ends_with_its_driver_even_a_killed_one() -> None:
    driver = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    code = f"{END_WITH}; print('at work', flush=True); time.sleep(60)"
    working = subprocess.Popen([sys.executable, "-c", code, str(driver.pid)], stdout=subprocess.PIPE, text=True)
    assert working.stdout is not None and working.stdout.readline() == "at work\n"
    driver.kill()  # it is not waited for: what is left of it counts as ended
    assert working.wait(30) == 1
    driver.wait()
    late = subprocess.run(
        [sys.executable, "-c", f"{END_WITH}; time.sleep(60)", str(driver.pid)], timeout=30, check=False
    )
    assert late.returncode == 1
