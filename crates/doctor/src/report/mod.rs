//! All findings of an examination: what follows from them, and how they look as text and as JSON.

mod findings;
mod json;
mod text;

pub use findings::Report;
