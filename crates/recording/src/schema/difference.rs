//! What changed between two versions of a type.
//!
//! In come two trees, out come the changes of each type that both have: added, removed, moved, and whatever else differs.
//!
//! **Invariant:** no changes means that both read messages alike and mean the same by them; words in comments are no change.

use std::collections::{BTreeMap, BTreeSet};

use crate::schema::outline::{innermost, kind};
use crate::schema::{Field, FieldKind, Tree, Type, TypeId};

/// A change within a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The type.
    pub type_name: String,
    /// The field or constant; empty where the type itself is meant.
    pub name: String,
    /// What happened to it.
    pub what: What,
    /// What it was; empty where it was not.
    pub before: String,
    /// What it is; empty where it is no more.
    pub after: String,
}

/// What happened to a field, a constant or a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It stands somewhere else among those that both have.
    Moved,
    /// Its type.
    Type,
    /// Its unit.
    Unit,
    /// Its default.
    Default,
    /// Whether it may be missing.
    Optional,
    /// Its number in the wire format.
    Number,
    /// A constant's value.
    Value,
    /// An enum's names.
    Names,
}

impl What {
    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Moved => "moved",
            Self::Type => "type",
            Self::Unit => "unit",
            Self::Default => "default",
            Self::Optional => "optional",
            Self::Number => "number",
            Self::Value => "value",
            Self::Names => "names",
        }
    }
}

/// Returns the changes from one tree to the other, the messages' own type first. The messages' types are compared even if
/// their names differ; those below them by name.
pub fn changes(before: &Tree, after: &Tree) -> Vec<Change> {
    let mut changes = Vec::new();
    if before.root().name != after.root().name {
        changes.push(change(before.root(), "", What::Type, &before.root().name, &after.root().name));
    }
    of_type(before, before.root(), after, after.root(), &mut changes);
    let named = |tree: &Tree| -> BTreeMap<String, TypeId> {
        let ids = (0_u32..).map(TypeId).zip(tree.types());
        ids.filter(|(id, _)| *id != tree.root_id()).map(|(id, one)| (one.name.clone(), id)).collect()
    };
    let (old, new) = (named(before), named(after));
    for (name, id) in &old {
        match new.get(name) {
            Some(other) => of_type(before, before.get(*id), after, after.get(*other), &mut changes),
            None => changes.push(change(before.get(*id), "", What::Removed, name, "")),
        }
    }
    for (name, id) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
        changes.push(change(after.get(*id), "", What::Added, "", name));
    }
    changes
}

fn change(of: &Type, name: &str, what: What, before: &str, after: &str) -> Change {
    Change { type_name: of.name.clone(), name: name.into(), what, before: before.into(), after: after.into() }
}

fn of_type(before: &Tree, old: &Type, after: &Tree, new: &Type, changes: &mut Vec<Change>) {
    let (old_names, new_names) = (names(old), names(new));
    for field in old.fields.iter().filter(|field| !new_names.contains(field.name.as_str())) {
        changes.push(change(new, &field.name, What::Removed, &kind(before, &field.kind), ""));
    }
    for field in new.fields.iter().filter(|field| !old_names.contains(field.name.as_str())) {
        changes.push(change(new, &field.name, What::Added, "", &kind(after, &field.kind)));
    }
    let by_name: BTreeMap<&str, &Field> = new.fields.iter().map(|field| (field.name.as_str(), field)).collect();
    for field in &old.fields {
        if let Some(other) = by_name.get(field.name.as_str()) {
            of_field((before, field), (after, other), new, changes);
        }
    }
    moved(old, new, changes);
    constants(old, new, changes);
}

fn names(one: &Type) -> BTreeSet<&str> {
    one.fields.iter().map(|field| field.name.as_str()).collect()
}

fn of_field((before, old): (&Tree, &Field), (after, new): (&Tree, &Field), of: &Type, changes: &mut Vec<Change>) {
    let mut compare = |what: What, old_text: String, new_text: String| {
        if old_text != new_text {
            changes.push(change(of, &old.name, what, &old_text, &new_text));
        }
    };
    compare(What::Type, whole_kind(before, &old.kind), whole_kind(after, &new.kind));
    compare(What::Unit, old.unit.clone(), new.unit.clone());
    compare(What::Default, old.default.clone(), new.default.clone());
    compare(What::Optional, yes_or_no(old.optional), yes_or_no(new.optional));
    compare(What::Number, old.number.to_string(), new.number.to_string());
    if let (FieldKind::Enum(old), FieldKind::Enum(new)) = (innermost(&old.kind), innermost(&new.kind)) {
        let text =
            |names: &BTreeMap<i64, String>| names.iter().map(|(number, name)| format!("{name}={number}")).collect::<Vec<_>>().join(", ");
        compare(What::Names, text(&old.names), text(&new.names));
    }
}

/// Returns a type's text with the size of an enum, which its name does not tell.
fn whole_kind(tree: &Tree, of: &FieldKind) -> String {
    let text = kind(tree, of);
    match innermost(of) {
        FieldKind::Enum(names) if names.bytes > 0 => {
            format!("{text} ({}int{})", if names.signed { "" } else { "u" }, u32::from(names.bytes) * 8)
        }
        _ => text,
    }
}

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.into()
}

/// Adds the fields that stand elsewhere among those that both have.
fn moved(old: &Type, new: &Type, changes: &mut Vec<Change>) {
    let (old_names, new_names) = (names(old), names(new));
    let old_order: Vec<&str> = old.fields.iter().map(|field| field.name.as_str()).filter(|name| new_names.contains(name)).collect();
    let new_order: Vec<&str> = new.fields.iter().map(|field| field.name.as_str()).filter(|name| old_names.contains(name)).collect();
    if old_order == new_order {
        return;
    }
    let places: BTreeMap<&str, usize> = new_order.iter().enumerate().map(|(place, name)| (*name, place)).collect();
    let order: Vec<usize> = old_order.iter().filter_map(|name| places.get(name).copied()).collect();
    let stays = longest_rising(&order);
    for (index, name) in old_order.iter().enumerate().filter(|(index, _)| !stays.contains(index)) {
        let behind = |order: &[&str], place: usize| match place.checked_sub(1).and_then(|above| order.get(above)) {
            Some(above) => format!("behind {above}"),
            None => "first".into(),
        };
        let new_place = places.get(name).copied().unwrap_or_default();
        changes.push(change(new, name, What::Moved, &behind(&old_order, index), &behind(&new_order, new_place)));
    }
}

/// Returns the places of a longest rising part of a list: what need not be said to have moved.
fn longest_rising(list: &[usize]) -> BTreeSet<usize> {
    // tails[n] is the place of the smallest end of a rising part of n + 1 elements.
    let mut tails: Vec<usize> = Vec::new();
    let mut above: Vec<Option<usize>> = Vec::with_capacity(list.len());
    for (place, value) in list.iter().enumerate() {
        let length = tails.partition_point(|tail| list[*tail] < *value);
        above.push(length.checked_sub(1).map(|shorter| tails[shorter]));
        if length == tails.len() {
            tails.push(place);
        } else {
            tails[length] = place;
        }
    }
    let mut found = BTreeSet::new();
    let mut next = tails.last().copied();
    while let Some(place) = next {
        found.insert(place);
        next = above[place];
    }
    found
}

fn constants(old: &Type, new: &Type, changes: &mut Vec<Change>) {
    let by_name = |one: &Type| -> BTreeMap<String, String> {
        one.constants.iter().map(|constant| (constant.name.clone(), format!("{} = {}", constant.type_name, constant.value))).collect()
    };
    let (old, new_constants) = (by_name(old), by_name(new));
    for (name, value) in &old {
        match new_constants.get(name) {
            Some(other) if other == value => {}
            Some(other) => changes.push(change(new, name, What::Value, value, other)),
            None => changes.push(change(new, name, What::Removed, value, "")),
        }
    }
    for (name, value) in new_constants.iter().filter(|(name, _)| !old.contains_key(*name)) {
        changes.push(change(new, name, What::Added, "", value));
    }
}
