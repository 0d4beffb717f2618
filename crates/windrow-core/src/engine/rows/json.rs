//! The JSON of rows and keys.
//!
//! **In** an output row. **Out** ranges of the shared text: the group, the channel's key and value, the user's key and value.
//! **Invariant:** the channel's value is the user's, then `window_start` and `window_end` unless selected, `final`, `seq`.

use std::{ops::Range, sync::Arc};

use bumpalo::Bump;

use crate::{
    engine::TaskError,
    expr::Expr,
    plan::ViewPlan,
    spec::TopicFormat,
    value::Datum,
    window::Window,
    written::{Members, RowSchema},
};

/// What the user's topic is keyed by.
#[derive(Debug)]
pub(super) enum UserKey {
    /// The group's columns as a JSON array.
    Group,
    /// Nothing.
    Null,
    /// These columns: one as its plain text, several as a JSON array.
    Columns(Vec<Expr>),
}

/// Knows the fixed parts of a view's rows.
#[derive(Debug)]
pub(super) struct Writer {
    members: Members,
    selects_start: bool,
    selects_end: bool,
    pub(super) user_key: UserKey,
    format: TopicFormat,
    /// Of a view whose topic has a schema: that, and the id that stands before values.
    schema: Option<(RowSchema, Option<u32>)>,
    /// `,"final":false,"seq":7}` and the same with `true`.
    tails: [Vec<u8>; 2],
}

impl Writer {
    pub(super) fn new(view: &ViewPlan) -> Result<Self, TaskError> {
        let selects = |name| view.outputs.iter().any(|output| &*output.name == name);
        let user_key = match view.spec.topic.as_ref().map(|user| user.key.as_deref()) {
            None | Some(None) => UserKey::Group,
            Some(Some([])) => UserKey::Null,
            Some(Some(columns)) => {
                let find = |column: &Arc<str>| {
                    let output = view.outputs.iter().find(|output| output.name == *column);
                    let column_of = output.map(|output| output.expr.clone());
                    let error =
                        || TaskError::KeyColumn { view: view.spec.name.clone(), column: column.clone() };
                    column_of.or_else(|| window_column(view, column)).ok_or_else(error)
                };
                UserKey::Columns(columns.iter().map(find).collect::<Result<_, _>>()?)
            }
        };
        let mut writer = Self {
            members: Members::new(view.outputs.iter().map(|output| &*output.name)),
            selects_start: selects("window_start"),
            selects_end: selects("window_end"),
            user_key,
            format: view.spec.topic.as_ref().map_or(TopicFormat::Json, |user| user.format),
            schema: schema(view)?,
            tails: Default::default(),
        };
        writer.set_seq(1);
        Ok(writer)
    }

    pub(super) fn has_schema(&self) -> bool {
        self.schema.is_some()
    }

    pub(super) fn set_seq(&mut self, seq: u64) {
        self.tails =
            [false, true].map(|is_final| format!(",\"final\":{is_final},\"seq\":{seq}}}").into_bytes());
    }

    /// Writes the group's JSON array.
    pub(super) fn group(&self, view: &ViewPlan, output: &[Datum<'_>], text: &mut Vec<u8>) -> Range<usize> {
        group_json(&output[..view.keys.len()], text)
    }

    pub(super) fn user_key<'a>(
        &'a self,
        row: &[Datum<'a>],
        arena: &'a Bump,
        group: &Range<usize>,
        text: &mut Vec<u8>,
    ) -> Option<Range<usize>> {
        let at = text.len();
        match &self.user_key {
            UserKey::Group => return Some(group.clone()),
            UserKey::Null => return None,
            UserKey::Columns(columns) => match &columns[..] {
                [column] => write_plain(column.eval(row, arena), text)?,
                _ => {
                    array_json(columns.iter().map(|column| column.eval(row, arena)), text);
                }
            },
        }
        Some(at..text.len())
    }

    /// Writes the value in the user's shape; `None` = a null value.
    pub(super) fn user_value<'a>(
        &self,
        view: &'a ViewPlan,
        row: &[Datum<'a>],
        arena: &'a Bump,
        text: &mut Vec<u8>,
    ) -> Option<Range<usize>> {
        let at = text.len();
        match (&self.schema, self.format, &view.outputs[..]) {
            (Some((schema, id)), ..) => {
                schema.write(*id, view.outputs.iter().map(|output| output.expr.eval(row, arena)), text);
            }
            (None, TopicFormat::Text, [column]) => write_plain(column.expr.eval(row, arena), text)?,
            _ => return Some(self.json_value(view, row, arena, text)),
        }
        Some(at..text.len())
    }

    /// Writes what is selected as JSON, whatever the user's topic has.
    pub(super) fn json_value<'a>(
        &self,
        view: &'a ViewPlan,
        row: &[Datum<'a>],
        arena: &'a Bump,
        text: &mut Vec<u8>,
    ) -> Range<usize> {
        let at = text.len();
        self.outputs(view, row, arena, text);
        text.push(b'}');
        at..text.len()
    }

    pub(super) fn channel_value<'a>(
        &self,
        view: &'a ViewPlan,
        row: &[Datum<'a>],
        arena: &'a Bump,
        window: Option<Window>,
        is_final: bool,
        text: &mut Vec<u8>,
    ) -> Range<usize> {
        let at = text.len();
        self.outputs(view, row, arena, text);
        if let Some(window) = window {
            if !self.selects_start {
                text.extend_from_slice(b",\"window_start\":");
                Datum::Timestamp(window.start_ms).write_json(text);
            }
            if !self.selects_end {
                text.extend_from_slice(b",\"window_end\":");
                Datum::Timestamp(window.end_ms).write_json(text);
            }
        }
        text.extend_from_slice(&self.tails[usize::from(is_final)]);
        at..text.len()
    }

    fn outputs<'a>(&self, view: &'a ViewPlan, row: &[Datum<'a>], arena: &'a Bump, text: &mut Vec<u8>) {
        let values = view.outputs.iter().map(|output| output.expr.eval(row, arena));
        self.members.write_open(values, text);
    }
}

fn schema(view: &ViewPlan) -> Result<Option<(RowSchema, Option<u32>)>, TaskError> {
    let options = |why| TaskError::Options { view: view.spec.name.clone(), why };
    let schema = RowSchema::of(view).map_err(|_| options("a column has no place in a schema"))?;
    let (Some(schema), Some(topic)) = (schema, &view.spec.topic) else { return Ok(None) };
    let id = topic.schema_id.get();
    if topic.format.is_registered() && id.is_none() {
        return Err(options("the schema of its topic has no id yet"));
    }
    Ok(Some((schema, id)))
}

/// Writes a value by itself: text and bytes as they are, the rest as JSON; `None` = it is NULL.
fn write_plain(value: Datum<'_>, text: &mut Vec<u8>) -> Option<()> {
    match value {
        Datum::Null => return None,
        Datum::Text(plain) => text.extend_from_slice(plain.as_bytes()),
        Datum::Bytes(plain) => text.extend_from_slice(plain),
        other => other.write_json(text),
    }
    Some(())
}

/// Windowed rows carry these whether selected or not: the slots after the aggregates.
fn window_column(view: &ViewPlan, name: &str) -> Option<Expr> {
    let slot = view.keys.len() + view.aggregates.len();
    match name {
        "window_start" if view.is_windowed() => Some(Expr::slot(slot)),
        "window_end" if view.is_windowed() => Some(Expr::slot(slot + 1)),
        _ => None,
    }
}

/// Appends the JSON array of a group's values.
pub(in crate::engine) fn group_json(values: &[Datum<'_>], text: &mut Vec<u8>) -> Range<usize> {
    let at = text.len();
    array_json(values.iter().copied(), text);
    at..text.len()
}

fn array_json<'a>(values: impl Iterator<Item = Datum<'a>>, text: &mut Vec<u8>) {
    text.push(b'[');
    for (i, value) in values.enumerate() {
        if i > 0 {
            text.push(b',');
        }
        value.write_json(text);
    }
    text.push(b']');
}

/// Appends the channel's key: the group's values, then the window's start.
pub(super) fn channel_key(group: Range<usize>, window: Option<Window>, text: &mut Vec<u8>) -> Range<usize> {
    let Some(window) = window else { return group };
    let at = text.len();
    text.extend_from_within(group.start..group.end - 1);
    if group.len() > 2 {
        text.push(b',');
    }
    Datum::Timestamp(window.start_ms).write_json(text);
    text.push(b']');
    at..text.len()
}
