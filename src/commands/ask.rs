//! Asks for confirmation.

use std::io::{self, BufRead, IsTerminal, Write};

/// Whether a person can be asked.
pub(super) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a question and returns whether the answer is yes.
pub(super) fn ask(question: &str, output: &mut impl Write, input: &mut impl BufRead) -> io::Result<bool> {
    let mut answer = String::new();
    write!(output, "{question} [y/N] ")?;
    output.flush()?;
    input.read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_one() {
        for (answer, is_yes) in
            [("y\n", true), ("Yes\r\n", true), ("n\n", false), ("\n", false), ("", false), ("yesterday\n", false)]
        {
            let mut output = Vec::new();
            assert_eq!(ask("Go?", &mut output, &mut answer.as_bytes()).unwrap(), is_yes, "{answer:?}");
            assert_eq!(output, b"Go? [y/N] ");
        }
    }
}
