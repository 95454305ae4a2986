//! Asking for the word that lets a plan write.

use engine::plan::{Consent, Plan};

use crate::Streams;

/// `Err` holds the sentence to end with.
pub fn get(
    plan: &Plan,
    approve: Option<&str>,
    streams: &mut Streams<'_>,
) -> Result<Consent, String> {
    let Some(word) = plan.word() else {
        return Ok(Consent::NothingOverwritten);
    };
    if let Some(given) = approve {
        return if given == word {
            Ok(Consent::Word(given.to_owned()))
        } else {
            Err(format!(
                "--approve {given} is not the word of this destination; nothing was written; read the plan again and give its own word"
            ))
        };
    }
    let Some(ask) = streams.ask.as_mut() else {
        return Err(format!(
            "nothing was written: this plan needs a consent; repeat the command with --approve {word}"
        ));
    };
    let question = format!("Type {word} to write, anything else to stop: ");
    let typed = ask(&question)
        .map_err(|error| format!("nothing was written: the answer could not be read: {error}"))?;
    if typed.trim() == word {
        Ok(Consent::Word(typed.trim().to_owned()))
    } else {
        Err("nothing was written: the word was another one".into())
    }
}
