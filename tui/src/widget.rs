//! Small pieces that screens are made of. Each draws what it is given and keeps nothing.

pub mod bar;
pub mod chrome;
pub mod field;
pub mod page;
pub mod pick;
pub mod secret;
pub mod strip;
pub mod text;
