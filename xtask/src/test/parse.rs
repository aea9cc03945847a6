//! How many tests passed and failed, by what test programs print. Skipped counts as failed.

use super::process::{Outcome, last_lines};
use super::{Failure, Report};

/// A Rust test executable.
pub fn libtest(name: &str, outcome: &Outcome) -> Report {
    let text = &outcome.stdout;
    let result = text.lines().find_map(|line| line.split_once("test result: ").map(|(_, counts)| counts));
    let mut report = match result {
        Some(counts) => {
            let number = |what: &str| number_before(counts, what);
            Report {
                passed: number(" passed"),
                failed: number(" failed") + number(" ignored"),
                failures: vec![],
            }
        }
        None => crashed(text),
    };
    if !outcome.success() && report.failed == 0 {
        report.failed = 1;
    }
    if report.failed > 0 {
        let said = match text.split_once("\nfailures:\n") {
            Some((_, failures)) => last_lines(failures),
            None => outcome.tail(),
        };
        report.failures.push(Failure { name: name.to_owned(), output: said });
    }
    report
}

/// It ended without a result: the tests that had not passed by then have failed.
fn crashed(text: &str) -> Report {
    let planned = text.lines().find_map(|line| line.strip_prefix("running ")).unwrap_or_default();
    let planned: usize = planned.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let passed = text.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ... ok")).count();
    Report { passed, failed: planned.saturating_sub(passed).max(1), failures: vec![] }
}

fn number_before(text: &str, what: &str) -> usize {
    let before = text.split(what).next().unwrap_or_default();
    let found = text.contains(what).then(|| before.rsplit([' ', ';', '.']).next()).flatten();
    found.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// A Python program that ends in `unittest.main()`.
pub fn unittest(name: &str, outcome: &Outcome) -> Report {
    let text = &outcome.stderr;
    let ran = text.lines().rev().find_map(|line| line.strip_prefix("Ran "));
    let ran: usize = ran.and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap_or(0);
    let verdict = text.lines().rev().find(|line| line.starts_with("OK") || line.starts_with("FAILED"));
    let number = |what: &str| -> usize {
        let after = verdict.and_then(|line| line.split_once(&format!("{what}=")));
        let digits =
            after.map(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
        digits.and_then(|n| n.parse().ok()).unwrap_or(0)
    };
    let bad = ["failures", "errors", "skipped", "expected failures", "unexpected successes"];
    let failed: usize = bad.into_iter().map(number).sum::<usize>() - number("expected failures");
    let mut report = Report { passed: ran.saturating_sub(failed), failed, failures: vec![] };
    if failed == 0 && (!outcome.success() || verdict.is_none() || ran == 0) {
        report.failed = 1;
    }
    if report.failed > 0 {
        let said = match text.split_once("\n======") {
            Some((_, failures)) => format!("{}\n({})", last_lines(failures), outcome.end()),
            None => outcome.tail(),
        };
        report.failures.push(Failure { name: name.to_owned(), output: said });
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    fn outcome(code: Option<i32>, stdout: &str, stderr: &str) -> Outcome {
        let status = code.map(|code| ExitStatus::from_raw(code << 8));
        Outcome { status, stdout: stdout.to_owned(), stderr: stderr.to_owned() }
    }

    fn counts(report: &Report) -> (usize, usize) {
        (report.passed, report.failed)
    }

    #[test]
    fn rust_tests_are_counted() {
        let good = "\nrunning 2 tests\ntest a ... ok\ntest b ... ok\n\ntest result: ok. 2 passed; 0 failed; \
                    0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        assert_eq!(libtest("x", &outcome(Some(0), good, "")), Report::passed(2));
        let bad = "running 3 tests\ntest a ... ok\ntest b ... noise\nFAILED\ntest c ... ignored\n\nfailures:\n\n\
                   ---- b stdout ----\nit broke\n\ntest result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured\n";
        let report = libtest("x", &outcome(Some(101), bad, ""));
        assert_eq!(counts(&report), (1, 2));
        assert!(report.failures[0].output.contains("it broke"));
    }

    #[test]
    fn a_rust_test_that_crashes_or_hangs_is_counted() {
        let cut = "running 5 tests\ntest a ... ok\ntest b ... ";
        let report = libtest("x", &outcome(Some(134), cut, "stack overflow"));
        assert_eq!(counts(&report), (1, 4));
        assert!(report.failures[0].output.contains("stack overflow"));
        let report = libtest("x", &outcome(None, cut, ""));
        assert!(report.failures[0].output.contains("took too long"));
        assert_eq!(counts(&libtest("x", &outcome(Some(0), "", ""))), (0, 1));
        let late = "running 1 test\ntest result: ok. 1 passed; 0 failed; 0 ignored\n";
        assert_eq!(counts(&libtest("x", &outcome(Some(139), late, ""))), (1, 1));
    }

    #[test]
    fn python_tests_are_counted() {
        let check = |code, text: &str, expected| {
            assert_eq!(counts(&unittest("x", &outcome(code, "", text))), expected, "{text}");
        };
        check(Some(0), "..\nRan 12 tests in 3.1s\n\nOK\n", (12, 0));
        check(Some(1), "Ran 12 tests in 3.1s\n\nFAILED (failures=2, errors=1, skipped=3)\n", (6, 6));
        check(Some(0), "Ran 4 tests in 1s\n\nOK (skipped=1)\n", (3, 1));
        check(Some(0), "Ran 4 tests in 1s\n\nOK (expected failures=1)\n", (3, 1));
        check(Some(1), "======\nERROR: setUpModule\nRan 0 tests in 1s\n\nFAILED (errors=1)\n", (0, 1));
        check(Some(1), "Traceback: no module named boto3\n", (0, 1));
        check(Some(0), "Ran 0 tests in 0s\n\nOK\n", (0, 1));
        check(None, "", (0, 1));
    }

    #[test]
    fn what_a_failed_python_test_said_is_shown() {
        let text = "test_a ... FAIL\n\n======\nFAIL: test_a\nAssertionError: 1 != 2\nRan 1 test\n\nFAILED (failures=1)\n";
        let report = unittest("x", &outcome(Some(1), "", text));
        assert!(report.failures[0].output.contains("AssertionError: 1 != 2"));
    }
}
