//! `kind = "host"`: how the computer is doing: processor, memory, disks, network, temperatures, graphics, clock.
//!
//! In come the system's own counters, out goes a message per part and interval on `/host/cpu`, `/host/memory`, `/host/disks`,
//! `/host/network`, `/host/temperatures` and `/host/gpus`, in JSON, and every ten seconds one on `/host/clock`, `/host/chrony` and
//! `/host/ptp`. Parts that this computer does not have are left out.
//!
//! **Invariant:** counters only grow until the computer starts anew; rates are left to whoever reads them.

mod clock;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use recording::{Error, Result, time};
use serde::Deserialize;
use serde_json::{Value, json};
use sysinfo::{Components, Disks, Gpus, Networks, System};

use super::{Intake, Source, options};
use crate::config::SourceConfig;
use crate::stop::StopFlag;
use crate::tape::channel::{Channel, Times};

/// How often it looks unless somebody says otherwise.
const DEFAULT_INTERVAL: &str = "1 s";
/// The shortest interval: below it the counters of the processor mean nothing.
const SHORTEST_NS: i64 = 200_000_000;
/// How often the clock is looked at: it drifts slowly, and others are asked about it.
const CLOCK_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    interval: Option<String>,
}

struct Host {
    interval: Duration,
}

pub(super) fn make(config: &SourceConfig) -> Result<Box<dyn Source>> {
    let Options { interval } = options(config)?;
    let interval_ns = time::parse_duration(interval.as_deref().unwrap_or(DEFAULT_INTERVAL))?;
    if interval_ns < SHORTEST_NS {
        return Err(Error::invalid("interval is at least 200 ms"));
    }
    Ok(Box::new(Host { interval: Duration::from_nanos(interval_ns as u64) }))
}

impl Source for Host {
    fn run(&mut self, intake: &Arc<Intake>, stop: &StopFlag) -> Result<()> {
        let mut parts = Parts::new()?;
        let mut channels: BTreeMap<&str, Arc<Channel>> = BTreeMap::new();
        intake.note(format!("looks every {}", time::format_duration(self.interval.as_nanos() as i64)));
        let mut since_clock = CLOCK_INTERVAL;
        // The load of a processor is what it did since the look before.
        while !stop.wait(self.interval) {
            let mut seen = parts.look();
            since_clock += self.interval;
            if since_clock >= CLOCK_INTERVAL {
                since_clock = Duration::ZERO;
                seen.extend(clock::look(stop));
            }
            for (part, value) in seen {
                let channel = match channels.get(part) {
                    Some(channel) => channel.clone(),
                    None => {
                        let channel = intake.json_channel(&format!("/host/{part}"), &format!("tapeloop.host.{part}"), &value)?;
                        channels.insert(part, channel.clone());
                        channel
                    }
                };
                intake.log(&channel, value.to_string().as_bytes().into(), Times::default())?;
            }
        }
        Ok(())
    }
}

struct Parts {
    system: System,
    disks: Option<Disks>,
    networks: Option<Networks>,
    temperatures: Option<Components>,
    gpus: Option<Gpus>,
}

impl Parts {
    fn new() -> Result<Self> {
        let system = System::new().map_err(|error| Error::unavailable(format!("the system's counters cannot be read: {error}")))?;
        // A part that cannot be read is one that this computer does not have.
        Ok(Self {
            system,
            disks: Disks::new().ok(),
            networks: Networks::new().ok(),
            temperatures: Components::new().ok(),
            gpus: Gpus::new().ok(),
        })
    }

    /// Returns what each part says now.
    fn look(&mut self) -> Vec<(&'static str, Value)> {
        let parts = [
            ("cpu", Some(self.cpu())),
            ("memory", Some(self.memory())),
            ("disks", self.disks()),
            ("network", self.network()),
            ("temperatures", self.temperatures()),
            ("gpus", self.gpus()),
        ];
        parts.into_iter().filter_map(|(part, value)| Some((part, value?))).collect()
    }

    fn cpu(&mut self) -> Value {
        self.system.refresh_cpu_usage();
        let cores: Vec<f64> = self.system.cpus().iter().map(|cpu| rounded(cpu.usage())).collect();
        let load = System::load_average().map(|load| json!({ "one": load.one, "five": load.five, "fifteen": load.fifteen }));
        json!({ "percent": rounded(self.system.global_cpu_usage()), "cores_percent": cores, "load_average": load.ok() })
    }

    fn memory(&mut self) -> Value {
        self.system.refresh_memory();
        let system = &self.system;
        json!({
            "total_bytes": system.total_memory(), "used_bytes": system.used_memory(), "available_bytes": system.available_memory(),
            "swap_total_bytes": system.total_swap(), "swap_used_bytes": system.used_swap(),
        })
    }

    fn disks(&mut self) -> Option<Value> {
        let disks = self.disks.as_mut()?;
        disks.refresh(true);
        let one = |disk: &sysinfo::Disk| {
            let usage = disk.usage();
            json!({
                "name": disk.name().to_string_lossy(), "mount": disk.mount_point().to_string_lossy(),
                "total_bytes": disk.total_space(), "free_bytes": disk.available_space(),
                "read_bytes": usage.total_read_bytes, "written_bytes": usage.total_written_bytes,
            })
        };
        some_list("disks", disks.iter().map(one).collect())
    }

    fn network(&mut self) -> Option<Value> {
        let networks = self.networks.as_mut()?;
        networks.refresh(true);
        let by_name: BTreeMap<_, _> = networks.iter().collect();
        let one = |(name, counters): (&std::ffi::OsString, &sysinfo::NetworkData)| {
            json!({
                "name": name.to_string_lossy(),
                "received_bytes": counters.total_received(), "sent_bytes": counters.total_transmitted(),
                "received_packets": counters.total_packets_received(), "sent_packets": counters.total_packets_transmitted(),
                "receive_errors": counters.total_errors_on_received(), "send_errors": counters.total_errors_on_transmitted(),
            })
        };
        some_list("interfaces", by_name.into_iter().map(one).collect())
    }

    fn temperatures(&mut self) -> Option<Value> {
        let sensors = self.temperatures.as_mut()?;
        sensors.refresh(true);
        let one = |sensor: &sysinfo::Component| {
            Some(json!({ "name": sensor.label(), "celsius": rounded(sensor.temperature()?), "critical_celsius": sensor.critical() }))
        };
        some_list("sensors", sensors.iter().filter_map(one).collect())
    }

    fn gpus(&mut self) -> Option<Value> {
        let gpus = self.gpus.as_mut()?;
        gpus.refresh(true);
        let one = |gpu: &sysinfo::Gpu| {
            json!({
                "vendor": gpu.vendor(), "model": gpu.model(), "percent": gpu.usage().map(rounded),
                "total_bytes": gpu.total_memory(), "used_bytes": gpu.used_memory(),
            })
        };
        some_list("gpus", gpus.iter().map(one).collect())
    }
}

fn some_list(name: &str, list: Vec<Value>) -> Option<Value> {
    (!list.is_empty()).then(|| json!({ name: list }))
}

/// Returns a number with two places: the rest is noise, and costs bytes.
fn rounded(value: f32) -> f64 {
    (f64::from(value) * 100.0).round() / 100.0
}
