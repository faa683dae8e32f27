//! The state machine over time, with messages of one or two topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use recording::Schema;
use recording::schema::library::Library;

use super::*;
use crate::topics::Topics;

const MS: i64 = 1_000_000;

/// A rule over `/a.x` and `/b.x`, numbers, and `/m.x`, a latched one; times in ms from a round second on.
struct Bench {
    machine: Machine,
    fired: Vec<Firing>,
    start_ns: i64,
}

fn topic(name: &str) -> Arc<Topic> {
    let schema = Schema { name: "demo/msg/Number".into(), encoding: "ros2msg".into(), data: Bytes::from_static(b"float64 x") };
    let qos = ("offered_qos_profiles".to_owned(), "- durability: transient_local".to_owned());
    let metadata = if name == "/m" { BTreeMap::from([qos]) } else { BTreeMap::new() };
    Arc::new(Topic { name: name.into(), encoding: "cdr".into(), schema: Some(Arc::new(schema)), metadata })
}

fn payload(x: f64) -> Vec<u8> {
    [&[0, 1, 0, 0][..], &x.to_le_bytes()].concat()
}

impl Bench {
    fn new(when: &str, keys: &str) -> Self {
        let text = format!("[[rule]]\nname = 'test'\nwhen = '''{when}'''\n{keys}");
        let rule = crate::rule::rules(&text, "test.toml").unwrap().swap_remove(0);
        let topics = Topics::new(["/a", "/b", "/m"].map(topic), &Library::empty());
        let start_ns = 1_795_348_800_000_000_000;
        Self { machine: Machine::new(&rule, rule.program(&topics).unwrap(), start_ns), fired: Vec::new(), start_ns }
    }

    fn give(&mut self, name: &str, ms: i64, x: f64) -> &mut Self {
        let feed = self.machine.feed(&topic(name)).unwrap();
        self.machine.message(feed, &payload(x), self.start_ns + ms * MS, &mut self.fired);
        self
    }

    fn a(&mut self, ms: i64, x: f64) -> &mut Self {
        self.give("/a", ms, x)
    }

    fn wait(&mut self, ms: i64) -> &mut Self {
        self.machine.advance(self.start_ns + ms * MS, &mut self.fired);
        self
    }

    /// Returns when it fired, in ms, and forgets it.
    fn fired(&mut self) -> Vec<i64> {
        self.fired.drain(..).map(|firing| (firing.time_ns - self.start_ns) / MS).collect()
    }
}

#[test]
fn it_fires_when_the_condition_becomes_true() {
    let mut bench = Bench::new("/a.x > 5", "");
    bench.a(1, 6.0).a(2, 7.0).a(3, 4.0).a(4, 5.0).a(5, 5.5).a(6, f64::NAN).a(7, 9.0);
    let values: Vec<String> = bench.fired.iter().map(|firing| format!("{} {}", firing.values[0].0, firing.values[0].1.get())).collect();
    assert_eq!(values, ["/a.x 6", "/a.x 5.5", "/a.x 9"]);
    assert_eq!(bench.fired(), [1, 5, 7]);
}

#[test]
fn what_is_held_long_enough_fires_to_the_moment() {
    let mut bench = Bench::new("/a.x > 5", "hold = '250 ms'");
    // Too short; then long enough, and no message comes at that moment.
    bench.a(0, 6.0).a(200, 1.0).a(300, 6.0).a(1000, 6.0);
    assert_eq!(bench.fired(), [550]);
    // The message that ends it comes just when it has been held long enough.
    bench.a(1100, 1.0).a(1200, 6.0).a(1450, 1.0).a(1500, 6.0).a(1749, 1.0).wait(3000);
    assert_eq!(bench.fired(), [1450]);
}

#[test]
fn a_cooldown_passes_over_what_begins_in_it() {
    let mut bench = Bench::new("/a.x > 5", "cooldown = '1 s'");
    bench.a(0, 6.0).a(10, 1.0).a(500, 6.0).a(1500, 6.0).a(1600, 1.0).a(1700, 6.0);
    assert_eq!(bench.fired(), [0, 1700]);
    assert_eq!(bench.machine.counts().in_cooldown, 1);
    // The end of the cooldown is not in it.
    bench.a(2000, 1.0).a(2700, 6.0);
    assert_eq!(bench.fired(), [2700]);
}

#[test]
fn a_level_fires_again_after_each_cooldown() {
    let mut bench = Bench::new("/a.x > 5", "trigger = 'level'\ncooldown = '150 ms'\nhold = '100 ms'");
    bench.a(0, 6.0).wait(400);
    assert_eq!(bench.fired(), [100, 250, 400]);
    // It begins again within the cooldown, and fires at its end.
    bench.a(410, 1.0).a(420, 6.0).wait(600);
    assert_eq!(bench.fired(), [550]);
}

#[test]
fn a_cap_counts_in_any_time_of_its_length() {
    let mut bench = Bench::new("/a.x > 5", "cap = '2/s'");
    for ms in [0, 300, 600, 1000, 1200, 1300, 2000] {
        bench.a(ms, 6.0).a(ms + 1, 1.0);
    }
    assert_eq!(bench.fired(), [0, 300, 1000, 1300, 2000]);
    assert_eq!(bench.machine.counts().over_cap, 2);
}

#[test]
fn silence_is_noticed_at_ticks() {
    let mut bench = Bench::new("age(/a) > 250ms", "");
    // Never seen since the start; then silent again behind a message.
    bench.wait(1000);
    assert_eq!(bench.fired(), [300]);
    bench.a(1010, 0.0).a(1190, 0.0).wait(2000);
    assert_eq!(bench.fired(), [1500]);
    assert_eq!(bench.machine.feed(&topic("/b")), None);
}

#[test]
fn rates_are_those_of_whole_windows() {
    let mut bench = Bench::new("rate(/a, 500ms) < 20", "");
    // 100 Hz until 1 s, then 10 Hz. Before the first window is over nothing is said.
    for ms in (0..1000).step_by(10) {
        bench.a(ms, 0.0);
    }
    assert_eq!(bench.fired(), [0; 0]);
    for ms in (1000..2000).step_by(100) {
        bench.a(ms, 0.0);
    }
    // Of the 500 ms up to 1.5 s: five messages, which is 10 Hz; up to 1.4 s: fourteen.
    assert_eq!(bench.fired(), [1500]);
}

#[test]
fn an_old_value_is_none() {
    let mut bench = Bench::new("/a.x > 5 and /b.x > 5", "max_age = '1 s'");
    bench.a(0, 6.0).give("/b", 900, 6.0);
    assert_eq!(bench.fired(), [900]);
    // At a tick /a is too old, so that its next message makes it true again.
    bench.wait(1200).a(1300, 6.0).wait(1800);
    assert_eq!(bench.fired(), [1300]);
    let mut bench = Bench::new("/m.x > 5 and /a.x > 5", "");
    let (feed, early_ns) = (bench.machine.feed(&topic("/m")).unwrap(), bench.start_ns - 3_600_000 * MS);
    bench.machine.preset(feed, &payload(6.0), early_ns);
    bench.a(0, 6.0);
    assert_eq!(bench.fired(), [0], "a latched value counts however old it is");
    let mut bench = Bench::new("/a.x is null", "max_age = '1 s'");
    bench.a(50, 6.0).wait(2000);
    assert_eq!(bench.fired(), [1100]);
}

#[test]
fn changes_are_those_between_the_last_two_messages() {
    let mut bench = Bench::new("changed(/a.x)", "");
    bench.a(0, 1.0).a(1, 1.0).a(2, 2.0).a(3, 3.0).a(4, 3.0).a(5, 1.0);
    assert_eq!(bench.fired(), [2, 5]);
    let mut bench = Bench::new("abs(delta(/a.x)) >= 2", "");
    bench.a(0, 10.0).a(1, 11.0).a(2, 9.0).a(3, 8.0).a(4, 11.0);
    assert_eq!(bench.fired(), [2, 4]);
}

#[test]
fn states_are_false_until_they_are_set() {
    let mut bench = Bench::new("not mission and /a.x > 5", "");
    bench.a(0, 6.0);
    assert_eq!(bench.fired(), [0]);
    let ns = |bench: &Bench, ms: i64| bench.start_ns + ms * MS;
    let (at, later) = (ns(&bench, 10), ns(&bench, 20));
    bench.machine.state("mission", true, at, &mut bench.fired);
    bench.machine.state("other", true, at, &mut bench.fired);
    bench.machine.state("mission", false, later, &mut bench.fired);
    assert_eq!(bench.fired(), [20]);
}

#[test]
fn messages_at_one_time_are_taken_in_their_order() {
    let mut bench = Bench::new("/a.x > 5 and /b.x > 5", "");
    bench.a(100, 6.0).give("/b", 100, 6.0).give("/b", 100, 1.0).give("/b", 100, 7.0);
    assert_eq!(bench.fired(), [100, 100]);
    // A clock that goes back stands still.
    bench.a(50, 1.0).a(60, 6.0);
    assert_eq!(bench.fired(), [100]);
}

#[test]
fn a_pause_forgets_values_and_keeps_cooldowns() {
    let mut bench = Bench::new("/a.x > 5", "cooldown = '10 s'\nmax_age = '1 h'");
    bench.a(0, 6.0);
    let restart = bench.start_ns + 5_000 * MS;
    bench.machine.restart(restart);
    bench.wait(5_500).a(6_000, 6.0);
    assert_eq!(bench.fired(), [0]);
    assert_eq!(bench.machine.counts().in_cooldown, 1);
    let end = i64::MAX;
    bench.machine.restart(end);
    bench.machine.advance(end, &mut bench.fired);
    assert_eq!(bench.fired(), [0; 0]);
}

#[test]
fn what_cannot_be_read_is_null_and_counted() {
    let mut bench = Bench::new("/a.x is null", "");
    let feed = bench.machine.feed(&topic("/a")).unwrap();
    bench.a(0, 1.0);
    let at = bench.start_ns + MS;
    bench.machine.message(feed, &[0, 1, 0], at, &mut bench.fired);
    assert_eq!(bench.fired(), [1]);
    assert_eq!(bench.machine.counts().unreadable, 1);
}
