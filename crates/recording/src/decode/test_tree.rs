//! Trees for tests, made by hand.
//!
//! **Invariant:** only tests see it.

use crate::schema::{Field, FieldKind, Tree, Type, TypeId};

/// Returns a field.
pub(crate) fn field(name: &str, kind: FieldKind) -> Field {
    Field { name: name.into(), kind, optional: false, unit: String::new(), comment: String::new(), number: 0, default: String::new() }
}

/// Returns a tree of these types; the first is the root.
pub(crate) fn tree(types: Vec<(&str, Vec<Field>)>) -> Tree {
    let types = types.into_iter().map(|(name, fields)| Type { name: name.into(), fields, ..Type::default() });
    Tree::new(types.collect(), TypeId(0)).unwrap()
}

/// Returns a list of `element`.
pub(crate) fn list(element: FieldKind) -> FieldKind {
    FieldKind::List { element: Box::new(element), bound: None }
}

/// Returns `length` times `element`.
pub(crate) fn array(element: FieldKind, length: u32) -> FieldKind {
    FieldKind::Array { element: Box::new(element), length }
}

/// Returns `sensor_msgs/msg/Imu`.
pub(crate) fn imu() -> Tree {
    let float = || FieldKind::Float(8);
    let covariance = || array(float(), 9);
    let struct_of = |id: u32| FieldKind::Struct(TypeId(id));
    tree(vec![
        (
            "sensor_msgs/msg/Imu",
            vec![
                field("header", struct_of(1)),
                field("orientation", struct_of(3)),
                field("orientation_covariance", covariance()),
                field("angular_velocity", struct_of(4)),
                field("angular_velocity_covariance", covariance()),
                field("linear_acceleration", struct_of(4)),
                field("linear_acceleration_covariance", covariance()),
            ],
        ),
        ("std_msgs/msg/Header", vec![field("stamp", struct_of(2)), field("frame_id", FieldKind::String)]),
        ("builtin_interfaces/msg/Time", vec![field("sec", FieldKind::Int(4)), field("nanosec", FieldKind::UInt(4))]),
        ("geometry_msgs/msg/Quaternion", ["x", "y", "z", "w"].map(|name| field(name, float())).to_vec()),
        ("geometry_msgs/msg/Vector3", ["x", "y", "z"].map(|name| field(name, float())).to_vec()),
    ])
}
