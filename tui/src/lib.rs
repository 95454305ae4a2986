//! From the question to the report, by keyboard alone, on any terminal of 80 columns and 24 rows.
//!
//! What happens is decided by [`app::update`], which is pure: a screen and a message give the next screen and
//! at most one effect. Only [`runtime`] performs effects. Whatever is written was asked for by
//! [`app::Effect::Start`], and that carries a consent that the engine itself has checked.

#![forbid(unsafe_code)]

pub mod app;
pub mod draft;
pub mod keys;
pub mod runtime;
pub mod screen;
pub mod theme;
pub mod widget;
pub mod world;
