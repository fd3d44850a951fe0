//! How values are written.

/// What a value counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Percent; the scale is always 0 to 100.
    Percent,
    /// Bytes, in powers of 1024.
    Bytes,
    /// Bytes a second, in powers of 1024.
    BytesPerSecond,
    /// Seconds.
    Seconds,
    /// Degrees Celsius.
    Celsius,
    /// Just a number.
    #[default]
    Plain,
}

const SIZES: [&str; 6] = ["B", "KB", "MB", "GB", "TB", "PB"];

impl Unit {
    /// The unit that the name of a series ends with.
    pub fn of(series: &str) -> Unit {
        let name = series.split('{').next().unwrap_or_default();
        match name {
            n if n.ends_with("percent") => Unit::Percent,
            n if n.ends_with("bytes_per_second") => Unit::BytesPerSecond,
            n if n.ends_with("bytes") => Unit::Bytes,
            n if n.ends_with("seconds") => Unit::Seconds,
            n if n.ends_with("celsius") => Unit::Celsius,
            _ => Unit::Plain,
        }
    }

    /// Number and unit apart, so that the unit can be lighter.
    pub fn parts(self, value: f64) -> (String, String) {
        if !value.is_finite() {
            return ("—".to_owned(), String::new());
        }
        match self {
            Unit::Percent => (short(value), "%".into()),
            Unit::Celsius => (short(value), "°C".into()),
            Unit::Seconds => (short(value), "s".into()),
            Unit::Plain => match value.abs() {
                v if v >= 1e9 => (short(value / 1e9), "G".into()),
                v if v >= 1e6 => (short(value / 1e6), "M".into()),
                v if v >= 1e4 => (short(value / 1e3), "k".into()),
                _ => (short(value), String::new()),
            },
            Unit::Bytes | Unit::BytesPerSecond => {
                let power = power(value);
                let unit = SIZES[power as usize];
                let rate = if self == Unit::BytesPerSecond { "/s" } else { "" };
                (short(value / 1024_f64.powi(power)), format!("{unit}{rate}"))
            }
        }
    }

    /// Number and unit.
    pub fn text(self, value: f64) -> String {
        let (number, unit) = self.parts(value);
        if unit.is_empty() { number } else { format!("{number} {unit}") }
    }

    /// A value beside the scale that ends at `high`; only bytes carry their unit, and all of them the same.
    pub fn tick(self, value: f64, high: f64) -> String {
        match self {
            Unit::Bytes | Unit::BytesPerSecond => {
                let power = power(high);
                let number = short(value / 1024_f64.powi(power));
                if value == 0.0 { number } else { format!("{number} {}", SIZES[power as usize]) }
            }
            Unit::Plain if high.abs() >= 1e4 => self.text(value).replace(' ', ""),
            _ => short(value),
        }
    }

    /// What round numbers are round in.
    pub(super) fn base(self, largest: f64) -> f64 {
        match self {
            Unit::Bytes | Unit::BytesPerSecond => 1024_f64.powi(power(largest)),
            _ => 1.0,
        }
    }

    /// The smallest height of a scale, so that noise around zero stays small.
    pub(super) fn least(self) -> f64 {
        match self {
            Unit::Bytes | Unit::BytesPerSecond => 4096.0,
            Unit::Celsius => 60.0,
            _ => 1.0,
        }
    }
}

fn power(value: f64) -> i32 {
    let mut power = 0;
    let mut rest = value.abs();
    while rest >= 1000.0 && power < SIZES.len() as i32 - 1 {
        rest /= 1024.0;
        power += 1;
    }
    power
}

/// Three significant digits at most, without zeros at the end.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 || v == v.trunc() => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text };
    if text == "-0" { "0".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short_and_carry_their_unit() {
        for (series, value, text) in [
            ("cpu.usage_percent", 12.54, "12.5 %"),
            ("disk.used_percent{/var}", 97.0, "97 %"),
            ("memory.used_bytes", 3.5 * 1024.0 * 1024.0 * 1024.0, "3.5 GB"),
            ("network.received_bytes_per_second{eth0}", 1_500.0, "1.46 KB/s"),
            ("load.1m", 0.0, "0"),
            ("load.1m", 0.333, "0.33"),
            ("requests", 1_234_567.0, "1.23 M"),
            ("x", f64::NAN, "—"),
        ] {
            assert_eq!(Unit::of(series).text(value), text);
        }
        assert_eq!(Unit::Bytes.tick(512.0 * 1024.0, 2.0 * 1024.0 * 1024.0), "0.5 MB");
    }
}
