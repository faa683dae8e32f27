//! How well the computer's clock agrees with others: what the kernel says, and chronyd and ptp4l where they run.
//!
//! In come the kernel's state of the clock and the reports of `chronyc` and `pmc`, out go messages on `/host/clock`, `/host/chrony` and
//! `/host/ptp`. An offset is this clock's time less the reference's: positive is ahead.
//!
//! **Invariant:** a daemon that does not answer costs its own report, and a second.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::stop::StopFlag;

/// How often a program is asked whether it has ended, and how many times: it has a second, and needs a tenth of it.
const STEP: Duration = Duration::from_millis(10);
const STEP_LIMIT: usize = 100;
/// The longest report that is read: a pipe holds as much, so that a program never waits for its reader.
const REPORT_LIMIT: u64 = 64 << 10;

/// Returns what is known about the clock now, by the last part of its topic's name.
pub(super) fn look(stop: &StopFlag) -> Vec<(&'static str, Value)> {
    let chrony = || chrony(&ask("chronyc", &["-n", "-c", "tracking"], stop)?);
    let ptp = || ptp(&ask("pmc", &["-u", "-b", "0", "GET TIME_STATUS_NP", "GET PORT_DATA_SET"], stop)?);
    [("clock", kernel()), ("chrony", chrony()), ("ptp", ptp())].into_iter().filter_map(|(part, value)| Some((part, value?))).collect()
}

/// Returns what the kernel says: whoever sets the clock (chronyd, ntpd, systemd-timesyncd, phc2sys) tells it.
fn kernel() -> Option<Value> {
    // SAFETY: a `timex` is numbers only, for which zero is a value; with no mode set the call only writes into it.
    let (state, clock) = unsafe {
        let mut clock: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut clock), clock)
    };
    (state >= 0).then(|| {
        json!({
            "synchronized": state != libc::TIME_ERROR,
            "max_error_ns": clock.maxerror.saturating_mul(1000),
            "estimated_error_ns": clock.esterror.saturating_mul(1000),
            "tai_offset_s": clock.tai,
        })
    })
}

/// Reads the line of `chronyc -c tracking`.
fn chrony(report: &str) -> Option<Value> {
    let fields: Vec<&str> = report.trim().split(',').collect();
    let [_, reference, stratum, _, correction, last, rms, frequency, _, skew, delay, dispersion, _, leap] = fields[..] else { return None };
    let ns = |seconds: &str| Some((seconds.parse::<f64>().ok().filter(|seconds| seconds.is_finite())? * 1e9).round() as i64);
    let ppm = |number: &str| number.parse::<f64>().ok().filter(|number| number.is_finite());
    Some(json!({
        "reference": reference,
        "stratum": stratum.parse::<u8>().ok()?,
        "synchronized": leap != "Not synchronised",
        "leap": leap,
        // What is still to be added to the clock: a clock that is ahead has a negative one.
        "offset_ns": ns(correction)?.saturating_neg(),
        "last_offset_ns": ns(last)?,
        "rms_offset_ns": ns(rms)?,
        "frequency_ppm": ppm(frequency)?,
        "skew_ppm": ppm(skew)?,
        "root_delay_ns": ns(delay)?,
        "root_dispersion_ns": ns(dispersion)?,
    }))
}

/// Reads the answers of `pmc`: lines of a name and a value.
fn ptp(report: &str) -> Option<Value> {
    let value =
        |name: &str| report.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(char::is_whitespace).map(str::trim));
    let number = |name: &str| value(name)?.parse::<i64>().ok();
    Some(json!({
        "offset_ns": number("master_offset")?,
        "grandmaster": value("gmIdentity")?,
        "grandmaster_present": value("gmPresent")? == "true",
        "port_state": value("portState").unwrap_or_default(),
        "path_delay_ns": number("peerMeanPathDelay").unwrap_or(0),
    }))
}

/// Runs a program, and returns what it printed if it ended well in time.
fn ask(program: &str, arguments: &[&str], stop: &StopFlag) -> Option<String> {
    let run = || -> io::Result<Option<String>> {
        let mut command = Command::new(program);
        command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let mut steps = 0;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            steps += 1;
            if stop.wait(STEP) || steps == STEP_LIMIT {
                child.kill()?;
                break child.wait()?;
            }
        };
        let mut report = String::new();
        if let Some(output) = child.stdout.take() {
            output.take(REPORT_LIMIT).read_to_string(&mut report)?;
        }
        Ok(status.success().then_some(report))
    };
    // Most computers have neither program: then there is no report.
    run().ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_how_far_its_clock_may_be_off() {
        let clock = kernel().expect("everybody may ask");
        assert!(clock["synchronized"].is_boolean() && clock["max_error_ns"].as_i64().unwrap() >= 0, "{clock}");
    }

    #[test]
    fn chronyd_says_which_clock_is_ahead() {
        // Printed by chronyc 4.3, which said in words: "0.000001104 seconds fast of NTP time".
        let line = "7F000001,127.0.0.1,9,1795368403.416209628,-0.000001107,-0.000000187,0.000008460,-0.154,-0.036,0.676,0.000005999,0.000002395,1.0,Normal\n";
        let report = chrony(line).unwrap();
        assert_eq!((&report["offset_ns"], &report["last_offset_ns"], &report["stratum"]), (&json!(1107), &json!(-187), &json!(9)));
        assert_eq!((&report["synchronized"], &report["root_delay_ns"]), (&json!(true), &json!(5999)));
        let unset = chrony("00000000,,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised").unwrap();
        assert_eq!(unset["synchronized"], json!(false));
        for damaged in ["", "506 Cannot talk to daemon", &line.replace("-0.000001107", "nan"), &line.replace(",9,", ",many,")] {
            assert_eq!(chrony(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn ptp4l_says_how_far_the_master_is() {
        // Printed by pmc 3.1.1, with another offset.
        let answer = "sending: GET TIME_STATUS_NP\n\t000000.fffe.000000-0 seq 0 RESPONSE MANAGEMENT TIME_STATUS_NP \n\t\tmaster_offset              -42\n\
            \t\tgmPresent                  true\n\t\tgmIdentity                 000000.fffe.000001\n\
            \t000000.fffe.000000-1 seq 1 RESPONSE MANAGEMENT PORT_DATA_SET \n\t\tportState               SLAVE\n\t\tpeerMeanPathDelay       310\n";
        let report = ptp(answer).unwrap();
        assert_eq!((&report["offset_ns"], &report["grandmaster"]), (&json!(-42), &json!("000000.fffe.000001")));
        assert_eq!(
            (&report["grandmaster_present"], &report["port_state"], &report["path_delay_ns"]),
            (&json!(true), &json!("SLAVE"), &json!(310))
        );
        assert_eq!(ptp("sending: GET TIME_STATUS_NP\n"), None, "ptp4l does not run");
    }

    #[test]
    fn a_program_that_hangs_or_is_not_there_is_no_report() {
        let stop = StopFlag::default();
        assert_eq!(ask("tapeloop-no-such-program", &[], &stop), None);
        assert_eq!(ask("false", &[], &stop), None);
        assert_eq!(ask("echo", &["a"], &stop).as_deref(), Some("a\n"));
        stop.set();
        assert_eq!(ask("sleep", &["1000"], &stop), None);
    }
}
