//! Decoding against a peer: one message, one field, one row, one rule; what it measured goes to stdout as one JSON object.
//!
//! Each case runs several times, mixed with its peer's; the best time of each counts, which says least about what else ran.
//!
//! **Invariant:** what is measured is checked: a decoder that answers something else than was encoded fails the run.

mod payload;
mod peer;
mod rule;

use std::hint::black_box;

use anyhow::{Context, Result, ensure};
use recording::decode::{Decoder, FieldReader, Scalar};
use recording::schema::library::{Flavour, Library};
use recording::{Schema, Topic};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

/// How often each case is measured.
const ROUNDS: usize = 7;

/// How many messages a round decodes.
const MESSAGES: usize = 102_400;

/// How many messages a batch holds.
const BATCH: usize = 1_024;

fn main() -> Result<()> {
    let library = Library::standard();
    let imu = topic(&library, "sensor_msgs/msg/Imu")?;
    let joints = topic(&library, "sensor_msgs/msg/JointState")?;
    let pose = topic(&library, "geometry_msgs/msg/PoseWithCovariance")?;
    let (imu_bytes, joints_bytes, pose_bytes) = (payload::imu(), payload::joint_state(), payload::pose_with_covariance());

    let decoder = Decoder::new(&imu, &library)?;
    let schema = imu.schema.as_deref().context("the library gives a definition")?;
    let schema = peer::parse(schema)?;
    let resolver = peer::resolver(&schema);
    ensure!(peer::decode(&schema, &resolver, &imu_bytes)?.len() == 7, "the peer reads something else");
    let (mut rows, mut line, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        rows.push(to_arrow(&decoder, &imu_bytes)?);
        theirs.push(measure(MESSAGES / 4, || peer::decode(&schema, &resolver, black_box(&imu_bytes)).map(|value| drop(black_box(value))))?);
        line.push(to_json(&decoder, &imu_bytes)?);
    }
    let prefix = field(&Decoder::new(&pose, &library)?, "covariance[35]", &pose_bytes, payload::LAST)?;
    let text = field(&decoder, "linear_acceleration.z", &imu_bytes, payload::GRAVITY)?;
    let lists = field(&Decoder::new(&joints, &library)?, "effort[5]", &joints_bytes, payload::LAST)?;
    let report = json!({
        "unit": "ns",
        "imu_to_arrow": best(&rows),
        "imu_to_arrow_re_ros_msg": best(&theirs),
        "times_faster": (best(&theirs) / best(&rows) * 10.0).round() / 10.0,
        "imu_to_json": best(&line),
        "field_behind_fixed_prefix": prefix,
        "field_behind_text": text,
        "field_behind_text_and_lists": lists,
        "rule_over_two_topics": rule::two_topics(&library)?,
    });
    println!("{report}");
    Ok(())
}

fn topic(library: &Library, type_name: &str) -> Result<Topic> {
    named("/topic", library, type_name)
}

fn named(name: &str, library: &Library, type_name: &str) -> Result<Topic> {
    let schema = library.find(type_name, None, Flavour::Ros2).with_context(|| format!("no {type_name}"))?;
    let schema = Schema { name: type_name.to_owned(), ..Schema::clone(&schema) };
    Ok(Topic { name: name.to_owned(), encoding: "cdr".to_owned(), schema: Some(schema.into()), metadata: Default::default() })
}

/// Returns nanoseconds per message, finishing batches included.
fn to_arrow(decoder: &Decoder, payload: &[u8]) -> Result<f64> {
    let mut columns = decoder.columns(&[])?;
    let start = cpu_ns();
    for _ in 0..MESSAGES / BATCH {
        for _ in 0..BATCH {
            columns.push(black_box(payload))?;
        }
        let batch = black_box(columns.finish()?);
        ensure!(batch.num_rows() == BATCH, "{} rows", batch.num_rows());
    }
    Ok((cpu_ns() - start) as f64 / MESSAGES as f64)
}

fn to_json(decoder: &Decoder, payload: &[u8]) -> Result<f64> {
    let mut out = Vec::new();
    measure(MESSAGES / 4, || {
        out.clear();
        Ok(decoder.json(black_box(payload), black_box(&mut out))?)
    })
}

/// Returns nanoseconds per reading of one field.
fn field(decoder: &Decoder, path: &str, payload: &[u8], expected: f64) -> Result<f64> {
    let reader: FieldReader = decoder.field(path)?;
    ensure!(reader.read(payload)? == Scalar::Float(expected), "{path}: {:?}", reader.read(payload)?);
    let round = || {
        measure(MESSAGES * 10, || {
            black_box(reader.read(black_box(payload))?);
            Ok(())
        })
    };
    let times = (0..ROUNDS).map(|_| round()).collect::<Result<Vec<f64>>>()?;
    Ok(best(&times))
}

fn measure(times: usize, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let start = cpu_ns();
    for _ in 0..times {
        run()?;
    }
    Ok((cpu_ns() - start) as f64 / times as f64)
}

/// Returns the CPU time of this process, which others on the machine hardly change.
fn cpu_ns() -> i64 {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    cpu.tv_sec * 1_000_000_000 + cpu.tv_nsec
}

fn best(times: &[f64]) -> f64 {
    (times.iter().copied().fold(f64::INFINITY, f64::min) * 10.0).round() / 10.0
}
