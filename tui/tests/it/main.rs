//! The screens as text, the journeys as keys and effects, and the program itself in a pseudo-terminal.

#![allow(clippy::unwrap_used)]

mod journeys;
mod machine;
mod pty;
mod random;
mod screens;
mod terminal;
mod unlock;
