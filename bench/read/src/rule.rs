//! A rule over two topics, from encoded messages to whether it is true.
//!
//! **Invariant:** both of its fields are read and compared, and it fires when it should.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use recording::schema::library::Library;
use rules::{Firing, Machine, Topics, rules};

use crate::{MESSAGES, ROUNDS, best, measure, named, payload};

const RULE: &str = "[[rule]]\nname = 'bench'\nwhen = '/imu.linear_acceleration.z > 9 and /diag.level >= 2'";

/// How far messages are apart.
const STEP_NS: i64 = 500_000;

/// Returns nanoseconds per message: finding the field, keeping its value, and evaluating the condition.
pub(crate) fn two_topics(library: &Library) -> Result<f64> {
    let rule = rules(RULE, "bench")?.pop().context("there is a rule")?;
    let (imu, diag) = (named("/imu", library, "sensor_msgs/msg/Imu")?, named("/diag", library, "diagnostic_msgs/msg/DiagnosticStatus")?);
    let program = rule.program(&Topics::new([Arc::new(imu.clone()), Arc::new(diag.clone())], library))?;
    let mut machine = Machine::new(&rule, program, 0);
    let imu = machine.feed(&imu).context("the rule names /imu")?;
    let diag = machine.feed(&diag).context("the rule names /diag")?;
    let (imu_bytes, good, bad) = (payload::imu(), payload::diagnostic_status(1), payload::diagnostic_status(2));
    let (mut now_ns, mut fired): (i64, Vec<Firing>) = (0, Vec::new());
    let mut round = || {
        measure(MESSAGES * 5, || {
            machine.message(imu, black_box(&imu_bytes), now_ns, &mut fired);
            machine.message(diag, black_box(&good), now_ns + STEP_NS, &mut fired);
            now_ns += 2 * STEP_NS;
            Ok(())
        })
    };
    let times = (0..ROUNDS).map(|_| round()).collect::<Result<Vec<f64>>>()?;
    ensure!(fired.is_empty(), "the rule fired {} times", fired.len());
    machine.message(diag, &bad, now_ns, &mut fired);
    ensure!(fired.len() == 1, "the rule did not fire");
    Ok(best(&times.iter().map(|time| time / 2.0).collect::<Vec<_>>()))
}
