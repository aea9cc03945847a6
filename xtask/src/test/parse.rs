//! How many tests passed and failed, by what test programs print. Skipped counts as failed.

use super::process::{Outcome, last_lines};
use super::{Failure, Report};
use std::collections::BTreeSet;

/// A Rust test executable.
pub fn libtest(name: &str, outcome: &Outcome) -> Report {
    let text = &outcome.stdout;
    let planned = planned(text);
    if planned == Some(0) && outcome.success() {
        return Report::default(); // a binary or library without tests says so and is fine
    }
    let result = result(outcome).filter(|result| planned.is_none_or(|planned| result.of == planned));
    let mut report = match result {
        Some(Counts { passed, failed, .. }) => Report { passed, failed, failures: vec![] },
        None => crashed(text, planned),
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

/// How many tests it set out to run. What says so later is a test that runs itself again.
fn planned(text: &str) -> Option<usize> {
    let planned = text.lines().find_map(|line| line.strip_prefix("running "))?;
    planned.split(' ').next()?.parse().ok()
}

/// Of how many tests how many passed and failed.
struct Counts {
    of: usize,
    passed: usize,
    failed: usize,
}

/// What it said in its end, if it came to that: lines of the kind that are before it are of tests that run themselves again.
fn result(outcome: &Outcome) -> Option<Counts> {
    outcome.status?.code()?; // nothing, where a signal ended it
    let result = |line: &'_ str| line.split_once("test result: ").map(|(_, counts)| counts.to_owned());
    let counts = outcome.stdout.lines().rev().find_map(result)?;
    let number = |what: &str| number_before(&counts, what);
    let (passed, failed) = (number(" passed"), number(" failed") + number(" ignored"));
    Some(Counts { of: passed + failed + number(" measured"), passed, failed })
}

/// It ended without a result: the tests that had not passed by then have failed.
fn crashed(text: &str, planned: Option<usize>) -> Report {
    let passed = text.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ... ok"));
    let passed = passed.collect::<BTreeSet<_>>().len();
    Report { passed, failed: planned.unwrap_or(0).saturating_sub(passed).max(1), failures: vec![] }
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

    /// As in `net/tests/support/elsewhere.rs`: what the inner run said is told where its test failed.
    #[test]
    fn a_rust_test_that_runs_itself_again_is_counted_as_one() {
        let inner = |result: &str| {
            format!("\nrunning 1 test\ntest a ... ok\n\ntest result: {result}; 3 filtered out\n\n")
        };
        let good = inner("ok. 1 passed; 0 failed; 0 ignored; 0 measured");
        let all = |inner: &str, result: &str| {
            format!("\nrunning 4 tests\n{inner}test a ... ok\n\ntest result: {result}\n")
        };
        let passed = all(&good, "ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!(counts(&libtest("x", &outcome(Some(0), &passed, ""))), (4, 0));
        let two_failed = all(&good, "FAILED. 1 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out");
        assert_eq!(counts(&libtest("x", &outcome(Some(101), &two_failed, ""))), (1, 3));
        let nothing_inside =
            format!("running 2 tests\n{}", inner("ok. 0 passed; 0 failed").replace("1 test", "0 tests"));
        let nothing_inside = format!("{nothing_inside}test result: FAILED. 1 passed; 1 failed; 0 ignored\n");
        assert_eq!(counts(&libtest("x", &outcome(Some(101), &nothing_inside, ""))), (1, 1));
        // The only result that there is, is the inner one's.
        let cut = format!("\nrunning 4 tests\n{good}test a ... ok\n");
        let killed = Outcome { status: Some(ExitStatus::from_raw(9)), ..outcome(None, &cut, "") };
        for ended in [killed, outcome(Some(1), &cut, ""), outcome(Some(0), &cut, ""), outcome(None, &cut, "")]
        {
            assert_eq!(counts(&libtest("x", &ended)), (1, 3), "{}", ended.end());
        }
    }

    #[test]
    fn an_executable_without_tests_is_fine() {
        let none = "\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured\n\n";
        assert_eq!(libtest("x", &outcome(Some(0), none, "")), Report::default());
        assert_eq!(counts(&libtest("x", &outcome(Some(1), none, ""))), (0, 1));
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
