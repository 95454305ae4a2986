//! The words of `rescue simulate`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args};
use engine::simulate::{Known, SCENARIOS};

use super::Output;

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true))]
pub struct SimulateWords {
    /// How the made-up drive fails
    #[arg(long, group = "what", value_name = "NAME", value_parser = PossibleValuesParser::new(SCENARIOS.iter().map(|one| one.name)))]
    pub scenario: Option<String>,
    /// A drive on which fails what this GNU ddrescue map file did not finish; what it did not try is sound
    #[arg(long, group = "what", value_name = "FILE")]
    pub map: Option<PathBuf>,
    /// Every figure that must be reached, beside those of GNU ddrescue on the same drives
    #[arg(long, group = "what")]
    pub acceptance: bool,
    /// Another drive of the same kind [default: 1; for --acceptance 1 to 10]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Nothing is known of what is used
    #[arg(long, conflicts_with = "acceptance")]
    no_used_map: bool,
    #[command(flatten)]
    pub output: Output,
}

impl SimulateWords {
    pub fn known(&self) -> Known {
        if self.no_used_map {
            Known::Nothing
        } else {
            Known::Used
        }
    }
}
