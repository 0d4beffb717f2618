//! Types: which go together, and what comes out when they do.

use sqlparser::ast::DataType;

use crate::value::ColumnType;

/// Types whose values compare with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Text,
    Number,
    Boolean,
    /// A time is a number of milliseconds, too.
    Time,
    Json,
    Bytes,
}

impl Family {
    pub(super) fn of(ty: ColumnType) -> Self {
        match ty {
            ColumnType::Text => Family::Text,
            ColumnType::Bigint | ColumnType::Double | ColumnType::Number | ColumnType::Decimal => {
                Family::Number
            }
            ColumnType::Boolean => Family::Boolean,
            ColumnType::Timestamp => Family::Time,
            ColumnType::Json => Family::Json,
            ColumnType::Bytes => Family::Bytes,
        }
    }

    /// Whether a value of that type can be used where the family is needed.
    pub(super) fn accepts(self, ty: ColumnType) -> bool {
        let of = Family::of(ty);
        of == self || matches!((self, of), (Family::Number, Family::Time) | (Family::Time, Family::Number))
    }

    /// What a column becomes that is used as the family; a time or bytes could have come in several forms.
    pub(super) fn inferred(self) -> Option<ColumnType> {
        match self {
            Family::Text => Some(ColumnType::Text),
            Family::Number => Some(ColumnType::Number),
            Family::Boolean => Some(ColumnType::Boolean),
            Family::Json => Some(ColumnType::Json),
            Family::Time | Family::Bytes => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Family::Text => "text",
            Family::Number => "a number",
            Family::Boolean => "a condition",
            Family::Time => "a time",
            Family::Json => "JSON",
            Family::Bytes => "bytes",
        }
    }
}

/// Says a type in a sentence.
pub(super) fn describe(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Boolean => "a boolean",
        other => Family::of(other).name(),
    }
}

/// The type that holds the values of both, when they are of one family.
pub(super) fn wider(a: ColumnType, b: ColumnType) -> Option<ColumnType> {
    match (a, b) {
        _ if a == b => Some(a),
        _ if Family::of(a) != Family::of(b) => None,
        _ => Some(ColumnType::Number),
    }
}

/// The type of arithmetic on two numbers.
pub(super) fn arithmetic(a: Option<ColumnType>, b: Option<ColumnType>, divides: bool) -> ColumnType {
    match (a, b) {
        (Some(ColumnType::Double), _) | (_, Some(ColumnType::Double)) => ColumnType::Double,
        (Some(ColumnType::Bigint), Some(ColumnType::Bigint)) if !divides => ColumnType::Bigint,
        _ => ColumnType::Number,
    }
}

/// The types of CAST, under SQL's usual names.
///
/// - **Errors:** a sentence.
pub(super) fn cast_target(data_type: &DataType) -> Result<ColumnType, String> {
    let name = data_type.to_string().to_lowercase();
    Ok(match name.as_str() {
        "text" | "varchar" | "character varying" | "string" => ColumnType::Text,
        "bigint" | "int" | "integer" | "smallint" | "int8" | "int4" | "int2" | "int64" => ColumnType::Bigint,
        "double" | "double precision" | "float" | "real" | "float8" | "float4" | "float64" => {
            ColumnType::Double
        }
        "number" => ColumnType::Number,
        "boolean" | "bool" => ColumnType::Boolean,
        "timestamp" | "timestamptz" | "timestamp with time zone" => ColumnType::Timestamp,
        "json" | "jsonb" => ColumnType::Json,
        _ => {
            return Err(format!(
                "there is no cast to {name}; the types are text, bigint, double, number, boolean, timestamp, json"
            ));
        }
    })
}
