//! `tapeloop rule test`: what rules would have done over recordings, and what that comes to.
//!
//! **Invariant:** what is less than exact is said to be, with the reason.

use std::path::PathBuf;

use clap::Args;
use recording::{Span, size, time};
use rules::{Firing, Kept, Price, Prices, Replayed, Rule, Value as Found, bytes_kept, replay};
use serde_json::{Map, Value, json};

use super::{Over, rules_of};
use crate::argument::Json;
use crate::outcome::Outcome;
use crate::output::{Progress, complain, print_json, print_lines};
use crate::text;
use crate::whom::Whom;

/// How many firings of a rule are listed for people.
const FIRINGS_SHOWN: usize = 50;

/// Say when rules would have fired, and what they would have kept
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Test {
    /// A TOML file with rules: the recorder's configuration, or one of its own
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Files, folders or recordings; or how much of the end of the tape, such as 2h
    #[arg(long, value_name = "RECORDING", num_args = 1.., required = true, env = "TAPELOOP_OVER")]
    over: Vec<PathBuf>,
    /// How fast the robot may upload, such as '20 MB/s'
    #[arg(long, value_name = "RATE", env = "TAPELOOP_BANDWIDTH", value_parser = bandwidth)]
    bandwidth: Option<f64>,
    /// What it costs to keep a GB for a month
    #[arg(long, value_name = "PRICE", env = "TAPELOOP_STORAGE_PRICE", value_parser = price)]
    storage_price: Option<f64>,
    /// What it costs to send a GB
    #[arg(long, value_name = "PRICE", env = "TAPELOOP_TRANSFER_PRICE", value_parser = price)]
    transfer_price: Option<f64>,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    whom: Whom,
}

const EXAMPLES: &str = "\
Examples:
  tapeloop rule test rules.toml --over run.mcap
  tapeloop rule test tapeloop.toml --over 2h --bandwidth '20 MB/s'
  tapeloop rule test rules.toml --over bags/ --storage-price 0.023 --transfer-price 0.09 --json

A day is 24 hours of recording, a month 30 of them: what was recorded is taken as typical.
Exit code 3 says that the recordings have lost data.";

/// What was found out of all rules.
struct Tested<'t> {
    rules: &'t [Rule],
    outcome: &'t rules::Outcome,
    kept: &'t Kept,
    prices: Prices,
}

impl Test {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let rules = rules_of(&self.file)?;
        let over = Over::open(&self.over, &self.whom)?;
        let topics = over.topics(&rules)?;
        let wrong: Vec<String> = rules.iter().filter_map(|rule| rule.program(&topics).err()).map(|error| error.to_string()).collect();
        if !wrong.is_empty() {
            wrong.iter().for_each(|why| complain(format!("{} {why}", self.file.display())));
            return Ok(Outcome::Failed);
        }
        let mut progress = Progress::new();
        let show = |time_ns| progress.show(|| text::moment(time_ns));
        let outcome = replay(&over.recording, &rules, &topics, over.span, show)?;
        drop(progress);
        let span = outcome.times_ns.map_or(over.span, |(first_ns, last_ns)| Span::new(first_ns, last_ns.saturating_add(1)));
        let kept = bytes_kept(&over.recording, &rules, &outcome, span)?;
        let prices = Prices { bandwidth: self.bandwidth, storage: self.storage_price, transfer: self.transfer_price };
        let tested = Tested { rules: &rules, outcome: &outcome, kept: &kept, prices };
        match self.json.wanted {
            true => print_json(&tested.json(&self.file.display().to_string(), &over.name))?,
            false => print_lines(tested.lines(&over.name))?,
        }
        Ok(Outcome::of(&outcome.losses))
    }
}

impl Tested<'_> {
    /// Returns what firings and payload bytes come to.
    fn price(&self, firings: u64, bytes: u64) -> Option<Price> {
        self.prices.of(firings, self.stored(bytes), self.outcome.covered_ns)
    }

    fn stored(&self, bytes: u64) -> f64 {
        bytes as f64 * self.kept.stored_per_byte
    }

    fn firings(&self) -> u64 {
        self.outcome.rules.iter().map(|replayed| replayed.firings.len() as u64).sum()
    }

    fn lines(&self, path: &str) -> Vec<String> {
        let outcome = self.outcome;
        let pauses = match outcome.pauses {
            0 => String::new(),
            pauses => format!(", {} of over {} left out", text::counted(pauses, "pause"), time::format_duration(rules::PAUSE_NS)),
        };
        let recorded = time::format_duration(outcome.covered_ns);
        let mut lines = vec![format!("{path}: {} in {recorded} of recording{pauses}", text::counted(outcome.messages, "message"))];
        for ((rule, replayed), bytes) in self.rules.iter().zip(&outcome.rules).zip(&self.kept.by_rule) {
            lines.push(String::new());
            lines.extend(rule_lines(rule, replayed));
            lines.extend(self.price_lines(replayed.firings.len() as u64, *bytes));
        }
        if self.rules.len() > 1 {
            lines.push(String::new());
            lines.push(format!("all rules  {}", text::counted(self.firings(), "firing")));
            lines.extend(self.price_lines(self.firings(), self.kept.all));
        }
        lines
    }

    fn price_lines(&self, firings: u64, bytes: u64) -> Vec<String> {
        let mut lines = vec![format!(
            "  keeps     {} of messages, about {} as they are stored",
            size::format(bytes),
            size::format(self.stored(bytes) as u64)
        )];
        match self.price(firings, bytes) {
            None => lines.push("  a day     unknown: nothing says how long was recorded".to_owned()),
            Some(price) => {
                let upload = price.upload_hours_per_day.map(|hours| format!(", {hours:.1} h of upload"));
                let amounts = format!("{} firings, {}", text::rate(price.firings_per_day), size::format(price.bytes_per_day as u64));
                lines.push(format!("  a day     {amounts}{}", upload.unwrap_or_default()));
                lines.extend(price.cost_per_month.map(|cost| format!("  a month   costs {cost:.2}")));
            }
        }
        lines
    }

    fn json(&self, file: &str, path: &str) -> Value {
        let outcome = self.outcome;
        let rules = self.rules.iter().zip(&outcome.rules).zip(&self.kept.by_rule);
        let rules: Vec<Value> = rules
            .map(|((rule, replayed), bytes)| {
                let mut all = json!({
                    "name": rule.name, "event": rule.event, "when": rule.condition.to_string(),
                    "exact": replayed.approximate.is_empty(), "approximate": replayed.approximate,
                    "in_cooldown": replayed.counts.in_cooldown, "over_cap": replayed.counts.over_cap,
                    "unreadable": replayed.counts.unreadable,
                    "firings": replayed.firings.iter().map(firing_json).collect::<Vec<_>>(),
                });
                merge(&mut all, self.price_json(replayed.firings.len() as u64, *bytes));
                all
            })
            .collect();
        json!({
            "path": file, "over": path, "messages": outcome.messages, "bytes": outcome.bytes,
            "start_ns": outcome.times_ns.map(|(first_ns, _)| first_ns), "end_ns": outcome.times_ns.map(|(_, last_ns)| last_ns),
            "covered_ns": outcome.covered_ns, "pauses": outcome.pauses, "losses": outcome.losses,
            "rules": rules, "all": self.price_json(self.firings(), self.kept.all),
        })
    }

    fn price_json(&self, firings: u64, bytes: u64) -> Value {
        let price = self.price(firings, bytes);
        json!({
            "bytes_kept": bytes, "stored_bytes": self.stored(bytes) as u64,
            "firings_per_day": price.map(|price| price.firings_per_day),
            "stored_bytes_per_day": price.map(|price| price.bytes_per_day),
            "upload_hours_per_day": price.and_then(|price| price.upload_hours_per_day),
            "cost_per_month": price.and_then(|price| price.cost_per_month),
        })
    }
}

fn rule_lines(rule: &Rule, replayed: &Replayed) -> Vec<String> {
    let mut lines = vec![format!("{}  {}", rule.name, text::counted(replayed.firings.len() as u64, "firing"))];
    lines.extend(
        replayed.firings.iter().take(FIRINGS_SHOWN).map(|firing| format!("  {}  {}", text::moment(firing.time_ns), values(firing))),
    );
    let more = replayed.firings.len().saturating_sub(FIRINGS_SHOWN);
    if more > 0 {
        lines.push(format!("  and {more} more, which --json lists"));
    }
    for (count, why) in [(replayed.counts.in_cooldown, "in its cooldown"), (replayed.counts.over_cap, "over its cap")] {
        if count > 0 {
            lines.push(format!("  not fired {} {why}", text::counted(count, "time")));
        }
    }
    match replayed.approximate.as_slice() {
        [] => lines.push("  exact     every message that it names is there".to_owned()),
        why => lines.extend(why.iter().map(|why| format!("  roughly   {why}"))),
    }
    lines
}

fn values(firing: &Firing) -> String {
    firing.values.iter().map(|(name, value)| format!("{name} = {}", value.get())).collect::<Vec<_>>().join(", ")
}

fn firing_json(firing: &Firing) -> Value {
    let values: Map<String, Value> = firing
        .values
        .iter()
        .map(|(name, value)| {
            let value = match value.get() {
                Found::Null => Value::Null,
                Found::Bool(value) => value.into(),
                Found::Int(value) => value.into(),
                Found::Float(value) if value.is_finite() => value.into(),
                // As in messages: JSON has no such numbers.
                Found::Float(value) if value.is_nan() => "NaN".into(),
                Found::Float(value) => if value > 0.0 { "Infinity" } else { "-Infinity" }.into(),
                Found::Text(text) => text.into(),
            };
            (name.clone(), value)
        })
        .collect();
    json!({ "time_ns": firing.time_ns, "values": values })
}

fn merge(all: &mut Value, more: Value) {
    if let (Value::Object(all), Value::Object(more)) = (all, more) {
        all.extend(more);
    }
}

fn bandwidth(text: &str) -> Result<f64, String> {
    let refuse = || format!("not a bandwidth: '{text}' (write it like '20 MB/s')");
    let bytes = text.trim().strip_suffix("/s").and_then(|size| size::parse(size).ok()).ok_or_else(refuse)?;
    (bytes > 0).then_some(bytes as f64).ok_or_else(refuse)
}

fn price(text: &str) -> Result<f64, String> {
    let price = text.trim().parse().ok().filter(|price: &f64| price.is_finite() && *price >= 0.0);
    price.ok_or_else(|| format!("not a price: '{text}' (write it like 0.023)"))
}
