//! Invalid settings, all reported at once.

/// One invalid setting.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{variable} {problem}")]
pub struct Problem {
    /// The variable, or the flag or argument that was used instead.
    pub variable: String,
    /// What is wrong and what is allowed, as a clause that follows the name. Never contains a secret.
    pub problem: String,
}

/// Every invalid setting.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError(pub Vec<Problem>);

impl ConfigError {
    /// The message for a person, one problem per line.
    pub fn complaint(&self) -> String {
        let problems: String = self.0.iter().map(|problem| format!("error: {problem}\n")).collect();
        problems + "\nRun 'azure-incremental --help' to list all settings.\n"
    }

    /// Combines two parts of the configuration, or the problems of both.
    pub fn both<A, B>(a: Result<A, Self>, b: Result<B, Self>) -> Result<(A, B), Self> {
        match (a, b) {
            (Ok(a), Ok(b)) => Ok((a, b)),
            (Err(mut a), Err(b)) => {
                a.0.extend(b.0);
                Err(a)
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(variable: &str) -> ConfigError {
        ConfigError(vec![Problem { variable: variable.into(), problem: "is not set".into() }])
    }

    #[test]
    fn each_problem_has_its_line() {
        let both = ConfigError::both(Err::<(), _>(error("A")), Err::<(), _>(error("B"))).unwrap_err();
        assert_eq!(both.to_string(), "A is not set\nB is not set");
        let complaint = both.complaint();
        assert!(complaint.starts_with("error: A is not set\nerror: B is not set\n\n"), "{complaint}");
        assert!(complaint.contains("--help"), "{complaint}");
    }

    #[test]
    fn one_error_is_enough() {
        assert_eq!(ConfigError::both(Ok(1), Ok(2)), Ok((1, 2)));
        assert_eq!(ConfigError::both(Ok(1), Err::<(), _>(error("B"))), Err(error("B")));
        assert_eq!(ConfigError::both(Err::<(), _>(error("A")), Ok(2)), Err(error("A")));
    }
}
