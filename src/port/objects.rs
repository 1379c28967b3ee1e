//! Reads, creates and changes configuration objects in Port, as JSON.

use bytes::Bytes;
use reqwest::{Method, Url};
use serde_json::{Map, Value as Json};

use super::rate::Class;
use super::{Answered, Port, PortError};
use crate::http::{self, Failure, RequestError};

/// A configuration object, with all keys that Port returns.
pub(crate) type Object = Map<String, Json>;

impl Port {
    /// The object under this name in the answer. `None` if it does not exist.
    pub(super) async fn object(&self, url: Url, name: &str) -> Result<Option<Object>, PortError> {
        let label = http::label("GET", &url);
        let answer = match self.asked(Method::GET, &url, None).await {
            Err(error) if error.is_missing() => return Ok(None),
            result => result?.answer,
        };
        let mut told: Object = answer.json().map_err(|failure| RequestError::new(label.as_str(), failure))?;
        match told.remove(name) {
            Some(Json::Object(object)) => Ok(Some(object)),
            _ => Err(RequestError::new(label, Failure::Unreadable(format!("it has no {name}").into())).into()),
        }
    }

    /// The list under this name in the answer.
    pub(super) async fn objects(&self, url: Url, name: &str) -> Result<Vec<Object>, PortError> {
        let label = http::label("GET", &url);
        let answer = self.asked(Method::GET, &url, None).await?.answer;
        let mut told: Object = answer.json().map_err(|failure| RequestError::new(label.as_str(), failure))?;
        let object = |one| if let Json::Object(object) = one { Some(object) } else { None };
        match told.remove(name) {
            Some(Json::Array(list)) => Ok(list.into_iter().filter_map(object).collect()),
            _ => Err(RequestError::new(label, Failure::Unreadable(format!("it has no {name}").into())).into()),
        }
    }

    /// Creates or changes an object. Ignores the answer, which is not documented for all kinds of objects.
    pub(super) async fn put_object(&self, method: Method, url: &Url, object: &Object) -> Result<(), PortError> {
        let body = serde_json::to_vec(object)
            .map_err(|error| RequestError::new(http::label(method.as_str(), url), Failure::Unreadable(error.into())))?;
        self.asked(method, url, Some(body.into())).await.map(|_| ())
    }

    async fn asked(&self, method: Method, url: &Url, body: Option<Bytes>) -> Result<Answered, PortError> {
        self.retrying(|| self.attempt(Class::Other, method.clone(), url.clone(), body.clone())).await
    }
}
