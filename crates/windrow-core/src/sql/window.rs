//! Windows in SQL: `tumble(interval '1 minute')` and what intervals mean.
//!
//! **Invariant:** an interval is a whole number of milliseconds, the same everywhere on the calendar; months, and days
//! of a zone, are not.

use sqlparser::ast::{self, DateTimeField, Expr as Ast, Value as Literal};

use super::{PlanError, call::arguments, place::place};
use crate::plan::Shape;

/// Longest window: a hundred years.
const WINDOW_MAX_MS: i64 = 36_525 * 86_400_000;

/// A message, and a hint.
type Trouble = (String, Option<String>);

/// Reads a member of GROUP BY as a window; `None` = it is none.
pub(super) fn window(expr: &Ast) -> Option<Result<Shape, PlanError>> {
    let Ast::Function(function) = expr else { return None };
    let name = function.name.to_string().to_lowercase();
    let at = place(expr)?;
    let refuse =
        |message: String, hint: &str| Some(Err(PlanError::at(at, message).hint(Some(hint.to_owned()))));
    match &*name {
        "tumble" => {}
        "hop" | "session" => {
            return refuse(format!("{name} windows are not built yet"), "tumble(interval '1 minute') is");
        }
        _ => return None,
    }
    match arguments(function).as_deref() {
        Some([Ast::Interval(interval)]) => {
            let sized = interval_ms(interval).and_then(|size_ms| match size_ms {
                1..=WINDOW_MAX_MS => Ok(Shape::Tumbling { size_ms }),
                _ => Err((format!("a window is 1 ms to 100 years long, this one {size_ms} ms"), None)),
            });
            Some(sized.map_err(|(message, hint)| PlanError::at(at, message).hint(hint)))
        }
        Some([Ast::Interval(_), _]) => refuse(
            "windows in a time zone are not built yet".into(),
            "tumble(interval '1 day') is aligned to UTC",
        ),
        _ => refuse("tumble takes one interval".into(), "write tumble(interval '1 minute')"),
    }
}

/// Returns the milliseconds of `interval '1 minute'`, `interval '1' minute`, `interval '1 hour 30 minutes'`.
pub(super) fn interval_ms(interval: &ast::Interval) -> Result<i64, Trouble> {
    let malformed = || {
        let hint = "write interval '1 minute'; units are millisecond, second, minute, hour, day, week";
        (format!("{interval} is not an interval"), Some(hint.to_owned()))
    };
    if interval.last_field.is_some() || interval.leading_precision.is_some() {
        return Err(malformed());
    }
    let text = match &*interval.value {
        Ast::Value(value) => match &value.value {
            Literal::SingleQuotedString(text) | Literal::Number(text, _) => text.as_str(),
            _ => return Err(malformed()),
        },
        _ => return Err(malformed()),
    };
    if let Some(field) = &interval.leading_field {
        let count: i64 = text.trim().parse().map_err(|_| malformed())?;
        let unit = field_unit(field).unwrap_or_default();
        return count.checked_mul(unit_ms(&unit).ok_or_else(|| no_unit(&unit))??).ok_or_else(malformed);
    }
    let mut total = 0_i64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(malformed());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(malformed)?;
        let count: i64 = rest[..digits].parse().map_err(|_| malformed())?;
        let after = rest[digits..].trim_start();
        let end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let unit = after[..end].to_lowercase();
        let each =
            unit_ms(&unit).ok_or_else(|| if unit.is_empty() { malformed() } else { no_unit(&unit) })??;
        total = count.checked_mul(each).and_then(|ms| total.checked_add(ms)).ok_or_else(malformed)?;
        rest = after[end..].trim_start();
    }
    Ok(total)
}

fn field_unit(field: &DateTimeField) -> Option<String> {
    Some(match field {
        DateTimeField::Custom(ident) => ident.value.to_lowercase(),
        field => field.to_string().to_lowercase(),
    })
}

/// Every unit under its names, with its milliseconds.
const UNITS: [(&[&str], i64); 6] = [
    (&["millisecond", "milliseconds", "ms"], 1),
    (&["second", "seconds", "sec", "s"], 1_000),
    (&["minute", "minutes", "min", "m"], 60_000),
    (&["hour", "hours", "h"], 3_600_000),
    (&["day", "days", "d"], 86_400_000),
    (&["week", "weeks", "w"], 604_800_000),
];

/// Returns the milliseconds of a unit; `None` = there is no such unit.
pub(super) fn unit_ms(unit: &str) -> Option<Result<i64, Trouble>> {
    if matches!(unit, "month" | "months" | "quarter" | "quarters" | "year" | "years") {
        let hint = "a month has no fixed length; days and weeks do".to_owned();
        return Some(Err((
            format!("intervals of a {} are not built yet", unit.trim_end_matches('s')),
            Some(hint),
        )));
    }
    UNITS.iter().find(|(names, _)| names.contains(&unit)).map(|(_, ms)| Ok(*ms))
}

fn no_unit(unit: &str) -> Trouble {
    let names: Vec<&str> = UNITS.iter().flat_map(|(names, _)| names.iter().copied()).collect();
    let hint = super::parse::did_you_mean(unit, &names)
        .unwrap_or_else(|| "units are millisecond, second, minute, hour, day, week".to_owned());
    (format!("there is no unit `{unit}`"), Some(hint))
}
