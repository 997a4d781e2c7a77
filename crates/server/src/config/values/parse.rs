//! How a text becomes the value of a setting.

use std::fmt::{self, Display};

/// Why a text is not a value: a clause that describes the valid values, such as "it must be true or false".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidValue(pub String);

impl Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidValue {}

pub(crate) fn invalid<T>(text: impl Into<String>) -> Result<T, InvalidValue> {
    Err(InvalidValue(text.into()))
}

/// Reads a type through serde by its `FromStr`, and describes it to editors.
macro_rules! setting_value {
    ($($type:ty => $schema:tt;)*) => {$(
        impl TryFrom<String> for $type {
            type Error = <Self as std::str::FromStr>::Err;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    )*};
}

pub(crate) use setting_value;
