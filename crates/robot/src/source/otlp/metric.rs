//! Metrics as messages: one per data point, on `/metrics/<name>`.
//!
//! **Invariant:** values are as they were sent: a counter that began anew, or that counts since the last export, says so.

use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint,
};
use recording::{Error, Result};

use super::Outcome;
use super::log::time;
use super::origin::{Origin, attributes};
use crate::source::Intake;
use crate::source::json::{comma, float, integer, special_float, text, unsigned};
use crate::source::record::{Channels, NAME_LIMIT, cut, metric_spec};
use crate::tape::channel::{Channel, Times};

/// The flag of a point that says that there is no value.
const NO_VALUE: u32 = 1;
const TEMPORALITIES: [&str; 3] = ["unspecified", "delta", "cumulative"];

/// Writes data points.
#[derive(Default)]
pub(super) struct Metrics {
    channels: Channels,
    payload: String,
}

/// What all points of a metric have.
struct Head<'a> {
    origin: &'a Origin<'a>,
    unit: &'a str,
    kind: &'static str,
    temporality: i32,
    is_monotonic: bool,
}

impl Metrics {
    /// Logs the points of a metric, and tells of each what became of it.
    pub(super) fn log(&mut self, intake: &Intake, origin: &Origin<'_>, metric: &Metric, outcome: &mut Outcome) {
        let name = cut(&metric.name, NAME_LIMIT);
        let channel = match self.channels.get(intake, name, || metric_spec(name)) {
            Ok(channel) => channel,
            Err(error) => return outcome.reject(points_of(metric).max(1) as u64, &error),
        };
        let mut head = Head { origin, unit: &metric.unit, kind: "gauge", temporality: 0, is_monotonic: false };
        let mut log = |times, write: &dyn Fn(&mut String)| outcome.take(|| self.point(intake, &channel, times, write));
        match &metric.data {
            Some(Data::Gauge(gauge)) => {
                for point in &gauge.data_points {
                    log(point.time_unix_nano, &|out| number(out, &head, point));
                }
            }
            Some(Data::Sum(sum)) => {
                head = Head { kind: "sum", temporality: sum.aggregation_temporality, is_monotonic: sum.is_monotonic, ..head };
                for point in &sum.data_points {
                    log(point.time_unix_nano, &|out| number(out, &head, point));
                }
            }
            Some(Data::Histogram(data)) => {
                head = Head { kind: "histogram", temporality: data.aggregation_temporality, ..head };
                for point in &data.data_points {
                    log(point.time_unix_nano, &|out| histogram(out, &head, point));
                }
            }
            Some(Data::ExponentialHistogram(data)) => {
                head = Head { kind: "exponential_histogram", temporality: data.aggregation_temporality, ..head };
                for point in &data.data_points {
                    log(point.time_unix_nano, &|out| exponential(out, &head, point));
                }
            }
            Some(Data::Summary(data)) => {
                head = Head { kind: "summary", ..head };
                for point in &data.data_points {
                    log(point.time_unix_nano, &|out| summary(out, &head, point));
                }
            }
            None => outcome.reject(1, &Error::invalid(format!("metric '{name}' has no data of a known kind"))),
        }
    }

    fn point(&mut self, intake: &Intake, channel: &Arc<Channel>, unix_ns: u64, write: &dyn Fn(&mut String)) -> Result<()> {
        self.payload.clear();
        write(&mut self.payload);
        let times = Times { log_time_ns: Some(intake.now_ns()), publish_time_ns: time(unix_ns) };
        intake.log(channel, self.payload.as_bytes().into(), times)
    }
}

fn points_of(metric: &Metric) -> usize {
    match &metric.data {
        Some(Data::Gauge(data)) => data.data_points.len(),
        Some(Data::Sum(data)) => data.data_points.len(),
        Some(Data::Histogram(data)) => data.data_points.len(),
        Some(Data::ExponentialHistogram(data)) => data.data_points.len(),
        Some(Data::Summary(data)) => data.data_points.len(),
        None => 0,
    }
}

fn begin(out: &mut String, head: &Head<'_>) {
    out.push_str("{\"kind\":\"");
    out.push_str(head.kind);
    out.push('"');
}

fn end(out: &mut String, head: &Head<'_>, start_unix_ns: u64, of_point: &[KeyValue]) {
    if !head.unit.is_empty() {
        out.push_str(",\"unit\":");
        text(out, cut(head.unit, NAME_LIMIT));
    }
    if let Some(temporality) = usize::try_from(head.temporality).ok().filter(|index| *index > 0).and_then(|index| TEMPORALITIES.get(index))
    {
        out.push_str(",\"temporality\":\"");
        out.push_str(temporality);
        out.push_str(if head.is_monotonic { "\",\"monotonic\":true" } else { "\",\"monotonic\":false" });
    }
    if let Some(start_ns) = time(start_unix_ns) {
        out.push_str(",\"start_ns\":");
        integer(out, start_ns);
    }
    attributes(out, "attributes", of_point);
    head.origin.write(out);
    out.push('}');
}

fn number(out: &mut String, head: &Head<'_>, point: &NumberDataPoint) {
    begin(out, head);
    out.push_str(",\"value\":");
    match point.value.filter(|_| point.flags & NO_VALUE == 0) {
        Some(Value::AsDouble(value)) => special_float(out, "value", value),
        Some(Value::AsInt(value)) => integer(out, value),
        None => out.push_str("null"),
    }
    end(out, head, point.start_time_unix_nano, &point.attributes);
}

/// Writes a point that says that there is no value any more; returns whether it is one.
fn is_nothing(out: &mut String, head: &Head<'_>, flags: u32, start_unix_ns: u64, of_point: &[KeyValue]) -> bool {
    let is_nothing = flags & NO_VALUE != 0;
    if is_nothing {
        begin(out, head);
        out.push_str(",\"value\":null");
        end(out, head, start_unix_ns, of_point);
    }
    is_nothing
}

fn histogram(out: &mut String, head: &Head<'_>, point: &HistogramDataPoint) {
    if is_nothing(out, head, point.flags, point.start_time_unix_nano, &point.attributes) {
        return;
    }
    begin(out, head);
    statistics(out, point.count, [("sum", point.sum), ("min", point.min), ("max", point.max)]);
    out.push_str(",\"bounds\":");
    list(out, &point.explicit_bounds, |out, bound| float(out, *bound));
    out.push_str(",\"counts\":");
    list(out, &point.bucket_counts, |out, count| unsigned(out, *count));
    end(out, head, point.start_time_unix_nano, &point.attributes);
}

fn exponential(out: &mut String, head: &Head<'_>, point: &ExponentialHistogramDataPoint) {
    if is_nothing(out, head, point.flags, point.start_time_unix_nano, &point.attributes) {
        return;
    }
    begin(out, head);
    statistics(out, point.count, [("sum", point.sum), ("min", point.min), ("max", point.max)]);
    out.push_str(",\"scale\":");
    integer(out, i64::from(point.scale));
    out.push_str(",\"zero_count\":");
    unsigned(out, point.zero_count);
    out.push_str(",\"zero_threshold\":");
    float(out, point.zero_threshold);
    buckets(out, "positive", point.positive.as_ref());
    buckets(out, "negative", point.negative.as_ref());
    end(out, head, point.start_time_unix_nano, &point.attributes);
}

fn summary(out: &mut String, head: &Head<'_>, point: &SummaryDataPoint) {
    if is_nothing(out, head, point.flags, point.start_time_unix_nano, &point.attributes) {
        return;
    }
    begin(out, head);
    statistics(out, point.count, [("sum", Some(point.sum))]);
    out.push_str(",\"quantiles\":");
    list(out, &point.quantile_values, |out, at| {
        out.push_str("{\"quantile\":");
        float(out, at.quantile);
        out.push_str(",\"value\":");
        float(out, at.value);
        out.push('}');
    });
    end(out, head, point.start_time_unix_nano, &point.attributes);
}

fn statistics<const N: usize>(out: &mut String, count: u64, others: [(&str, Option<f64>); N]) {
    out.push_str(",\"count\":");
    unsigned(out, count);
    for (name, value) in others {
        if let Some(value) = value {
            out.push_str(",\"");
            out.push_str(name);
            out.push_str("\":");
            special_float(out, name, value);
        }
    }
}

fn buckets(out: &mut String, name: &str, buckets: Option<&Buckets>) {
    let Some(buckets) = buckets else { return };
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":{\"offset\":");
    integer(out, i64::from(buckets.offset));
    out.push_str(",\"counts\":");
    list(out, &buckets.bucket_counts, |out, count| unsigned(out, *count));
    out.push('}');
}

fn list<T>(out: &mut String, values: &[T], write: impl Fn(&mut String, &T)) {
    out.push('[');
    for (i, value) in values.iter().enumerate() {
        comma(out, i);
        write(out, value);
    }
    out.push(']');
}
