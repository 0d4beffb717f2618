//! `bench engine`, third group: one row of twelve columns written in each language that a view's topic may have.
//!
//! **Floor:** JSON. **Not here:** folding, expressions, the frame's five bytes.

use anyhow::{Context, Result};
use windrow_core::{
    value::{ColumnType, Datum},
    written::RowSchema,
};

use super::{
    data,
    formats::{Cell, DISTINCT, FIELDS, cells},
    meter::Meter,
    report::{Figure, Group},
    setup,
};

/// Measures each language over as many rows.
pub(super) fn group(rows: u64) -> Result<Group> {
    let values: Vec<Vec<Cell>> = (0..DISTINCT).map(cells).collect();
    let mut figures = Vec::new();
    for (name, format) in [("json", "json-registry"), ("avro", "avro"), ("protobuf", "protobuf")] {
        figures.push(figure(name, &schema(format)?, &values, rows)?);
    }
    Ok(Group { name: "writing 12 columns".into(), figures })
}

/// The schema of a view that selects every field.
fn schema(format: &str) -> Result<RowSchema> {
    let column = |(name, ty): &(&str, ColumnType)| format!("{name} = \"{}\"", ty.name());
    let columns = FIELDS.iter().map(column).collect::<Vec<_>>().join(", ");
    let selected = FIELDS.map(|(name, _)| name).join(", ");
    let plan = setup::plan(&format!(
        r#"[registry]
url = "http://localhost"
[streams.clicks]
columns = {{ {columns} }}
[views.clicked]
sql = "SELECT {selected} FROM clicks"
topic = "clicked"
topic_format = "{format}"
"#
    ))?;
    let view = plan.views.first().context("the configuration has no view")?;
    let schema = RowSchema::of(view).map_err(|(_, why)| why)?;
    schema.context("the view's topic has no schema")
}

fn figure(name: &str, schema: &RowSchema, values: &[Vec<Cell>], rows: u64) -> Result<Figure> {
    let mut out = Vec::new();
    let (mut count, mut bytes) = (0, 0);
    let meter = Meter::own()?;
    for chunk in values.chunks(data::PER_BATCH as usize).cycle() {
        if count >= rows {
            break;
        }
        out.clear();
        for cells in chunk {
            schema.write(None, cells.iter().map(datum), &mut out);
        }
        count += chunk.len() as u64;
        bytes += out.len() as u64;
    }
    let cost = meter.stop()?;
    let ns = cost.cpu.as_secs_f64() * 1e9 / count.max(1) as f64;
    let figure = Figure::new(name, count, cost).note("ns a row", format!("{ns:.0}"));
    Ok(figure.note("bytes", bytes / count.max(1)))
}

fn datum(cell: &Cell) -> Datum<'_> {
    match cell {
        Cell::Int(number) => Datum::Int(*number),
        Cell::Float(number) => Datum::Float(*number),
        Cell::Text(text) => Datum::Text(text),
        Cell::Bool(value) => Datum::Bool(*value),
    }
}
