//! An API server of a few lines for tests of the shell: it stores JSON, keeps resourceVersions, notes every request, refuses
//! what the operator's own role does not allow, and can stop an operator after a given write.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::resources::rbac;

#[derive(Clone, Default)]
pub struct FakeServer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// By path: `/api/v1/namespaces/demo/pods/a`.
    objects: BTreeMap<String, Value>,
    logs: BTreeMap<String, String>,
    /// Answers to give instead, by method and path.
    answers: BTreeMap<String, (u16, Value)>,
    requests: Vec<String>,
    /// Who wrote: the field manager of each writing request, by method and path.
    managers: BTreeMap<String, String>,
    version: u64,
    /// How many requests have changed something, events too.
    written: u64,
    /// After which of them the operator is stopped.
    stop_at: Option<u64>,
    stopped: bool,
    /// What somebody else does right after one of them.
    then: Option<(u64, Deed)>,
}

/// What is done to the server.
type Deed = fn(&FakeServer);

impl FakeServer {
    /// A client, which is good until the operator is stopped, see [`Self::stop_after`].
    pub fn client(&self) -> Client {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let server = self.clone();
        tokio::spawn(async move {
            while let Some((request, send)) = handle.next_request().await {
                let response = server.answer(request).await;
                if server.has_stopped() {
                    return;
                }
                send.send_response(response);
            }
        });
        Client::new(service, "demo")
    }

    /// Stops the operator after so many more writes: the last one is done, nobody is told of it, and no client of now does
    /// anything any more. `None`: not again. Clients that are made from now on work.
    pub fn stop_after(&self, writes: Option<u64>) {
        let mut state = self.state();
        state.stopped = false;
        state.stop_at = writes.map(|writes| state.written + writes);
    }

    pub fn has_stopped(&self) -> bool {
        self.state().stopped
    }

    /// How many requests have changed something so far, events too.
    pub fn written(&self) -> u64 {
        self.state().written
    }

    /// Has somebody do this right after a write, counted from the first.
    pub fn then(&self, write: u64, act: fn(&FakeServer)) {
        self.state().then = Some((write, act));
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Stores an object under its path, as if somebody had applied it.
    pub fn put(&self, path: &str, object: Value) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version.to_string();
        let mut object = object;
        object["metadata"]["resourceVersion"] = json!(version);
        object["metadata"]["name"] = json!(path.rsplit('/').next().unwrap());
        object["metadata"]["namespace"] = json!("demo");
        state.objects.insert(path.to_owned(), object);
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        self.state().objects.get(path).cloned()
    }

    pub fn change(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.get(path).unwrap_or_else(|| panic!("{path} is not there"));
        change(&mut object);
        self.put(path, object);
    }

    /// Deletes an object as a person would: it is gone when it has no finalizers left.
    pub fn delete(&self, path: &str) {
        self.state().delete(path, &Value::Null);
    }

    /// All that is stored, by path.
    pub fn everything(&self) -> BTreeMap<String, Value> {
        self.state().objects.clone()
    }

    /// The objects of a collection, in order of their names.
    pub fn below(&self, collection: &str) -> Vec<Value> {
        let within = format!("{collection}/");
        let state = self.state();
        let inside = |name: &str| name.strip_prefix(&within).is_some_and(|rest| !rest.contains('/'));
        state.objects.iter().filter(|(name, _)| inside(name)).map(|(_, object)| object.clone()).collect()
    }

    /// Ends what [`Self::fail`] began.
    pub fn recover(&self) {
        self.state().answers.clear();
    }

    pub fn remove(&self, path: &str) {
        self.state().objects.remove(path);
    }

    pub fn set_log(&self, pod: &str, log: &str) {
        self.state().logs.insert(pod.to_owned(), log.to_owned());
    }

    /// Answers one kind of request with a failure from now on: `POST /apis/batch/v1/namespaces/demo/jobs`.
    pub fn fail(&self, request: &str, code: u16, reason: &str, message: &str) {
        let status = json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message});
        self.state().answers.insert(request.to_owned(), (code, status));
    }

    /// What was asked since the last call: method and path, for writes with the query of a patch.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state().requests)
    }

    /// Who wrote what so far; events aside.
    pub fn managers(&self) -> BTreeMap<String, String> {
        let all = self.state().managers.clone();
        all.into_iter().filter(|(line, _)| !line.contains("/events")).collect()
    }

    /// Of what was asked since the last call, what was to change something; events aside.
    pub fn writes(&self) -> Vec<String> {
        let all = self.requests();
        all.into_iter().filter(|line| !line.starts_with("GET ") && !line.contains("/events")).collect()
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        assert!(is_allowed(&parts.method, &path, &query), "the operator's role does not allow {} {path}", parts.method);
        let response = self.serve(&parts.method, &path, &query, body);
        if parts.method != Method::GET {
            self.count();
        }
        response
    }

    /// Counts a write, with what was to come after it.
    fn count(&self) {
        let mut state = self.state();
        state.written += 1;
        state.stopped |= state.stop_at == Some(state.written);
        let now = state.written;
        let act = state.then.take_if(|(write, _)| *write == now);
        drop(state);
        if let Some((_, act)) = act {
            act(self);
        }
    }

    fn serve(&self, method: &Method, path: &str, query: &str, body: Value) -> Response<Body> {
        let mut state = self.state();
        let line = format!("{method} {path}");
        state.requests.push(line.clone());
        if matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
            let manager = query.split('&').find_map(|pair| pair.strip_prefix("fieldManager="));
            state.managers.insert(line.clone(), manager.unwrap_or_default().to_owned());
        }
        if let Some((code, status)) = state.answers.get(&line) {
            return respond(*code, status);
        }
        if let Some(pod) = path.strip_suffix("/log") {
            let pod = pod.rsplit('/').next().unwrap_or_default();
            let log = state.logs.get(pod).cloned().unwrap_or_default();
            return Response::new(Body::from(log.into_bytes()));
        }
        match *method {
            Method::GET if state.objects.contains_key(path) => respond(200, &state.objects[path]),
            Method::GET if is_collection(path) => respond(200, &state.list(path, query)),
            Method::POST => state.create(path, body),
            Method::PUT | Method::PATCH => state.change(path, &body, *method == Method::PUT),
            Method::DELETE => state.delete(path, &body),
            _ => not_found(path),
        }
    }
}

impl State {
    fn list(&self, path: &str, query: &str) -> Value {
        let selector = query.split('&').find_map(|pair| pair.strip_prefix("labelSelector=")).unwrap_or_default();
        let selector = selector.replace("%3D", "=").replace("%2F", "/").replace("%2C", ",").replace("%21", "!");
        let wanted: Vec<&str> = selector.split(',').filter(|term| !term.is_empty()).collect();
        let matches = |object: &Value| {
            wanted.iter().all(|term| {
                let label = |key: &str| object["metadata"]["labels"][key].as_str();
                match (term.split_once("!="), term.split_once('=')) {
                    (Some((key, value)), _) => label(key) != Some(value),
                    (None, Some((key, value))) => label(key) == Some(value),
                    (None, None) => label(term).is_some(),
                }
            })
        };
        let within = format!("{path}/");
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(name, object)| {
                name.strip_prefix(&within).is_some_and(|rest| !rest.contains('/')) && matches(object)
            })
            .map(|(_, object)| object)
            .collect();
        json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items})
    }

    fn create(&mut self, path: &str, mut object: Value) -> Response<Body> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let path = format!("{path}/{name}");
        if self.objects.contains_key(&path) {
            return respond(
                409,
                &json!({"kind": "Status", "status": "Failure", "code": 409, "reason": "AlreadyExists", "message": path}),
            );
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        object["metadata"]["uid"] = json!(format!("uid of {name}"));
        self.objects.insert(path, object.clone());
        respond(201, &object)
    }

    fn change(&mut self, path: &str, change: &Value, replace: bool) -> Response<Body> {
        let path = path.strip_suffix("/status").unwrap_or(path);
        let Some(object) = self.objects.get(path) else { return not_found(path) };
        let wanted = &change["metadata"]["resourceVersion"];
        if !wanted.is_null() && *wanted != object["metadata"]["resourceVersion"] {
            return conflict(path);
        }
        let mut object = object.clone();
        if replace {
            object = change.clone();
        } else if change.get("status").is_some() {
            // Ours is the only manager of the status, so that apply replaces it.
            object["status"] = change["status"].clone();
        } else {
            merge(&mut object, change);
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let goes = !object["metadata"]["deletionTimestamp"].is_null() && !has_finalizers(&object);
        if goes {
            self.objects.remove(path);
        } else {
            self.objects.insert(path.to_owned(), object.clone());
        }
        respond(200, &object)
    }

    fn delete(&mut self, path: &str, options: &Value) -> Response<Body> {
        let Some(object) = self.objects.get(path) else { return not_found(path) };
        for key in ["uid", "resourceVersion"] {
            let wanted = &options["preconditions"][key];
            if !wanted.is_null() && *wanted != object["metadata"][key] {
                return conflict(path);
            }
        }
        let mut object = object.clone();
        if has_finalizers(&object) {
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            object["metadata"]["deletionTimestamp"] = json!(jiff::Timestamp::now().strftime("%FT%TZ").to_string());
            self.objects.insert(path.to_owned(), object.clone());
        } else {
            self.objects.remove(path);
        }
        respond(200, &object)
    }
}

fn merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change.clone(),
    }
}

fn respond(code: u16, body: &Value) -> Response<Body> {
    let body = Body::from(serde_json::to_vec(body).unwrap());
    Response::builder().status(StatusCode::from_u16(code).unwrap()).body(body).unwrap()
}

fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty())
}

fn conflict(path: &str) -> Response<Body> {
    respond(409, &json!({"kind": "Status", "status": "Failure", "code": 409, "reason": "Conflict", "message": path}))
}

fn not_found(path: &str) -> Response<Body> {
    respond(404, &json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": path}))
}

/// `(group, rest of the path within the namespace)`.
fn split(path: &str) -> (&str, Vec<&str>) {
    let mut parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let group = if parts[0] == "api" {
        parts.drain(..2);
        ""
    } else {
        let group = parts[1];
        parts.drain(..3);
        group
    };
    if parts[0] == "namespaces" && parts.len() > 2 {
        parts.drain(..2);
    }
    (group, parts)
}

fn is_collection(path: &str) -> bool {
    split(path).1.len() == 1
}

/// Whether the operator's role allows the request, as the API server's RBAC would judge it.
fn is_allowed(method: &Method, path: &str, query: &str) -> bool {
    // Whoever may log in may read what the server serves (the ClusterRole system:discovery).
    if *method == Method::GET && (path.starts_with("/openapi/v3/") || path == "/version") {
        return true;
    }
    let (group, parts) = split(path);
    let resource = match parts.as_slice() {
        [resource, _, subresource] => format!("{resource}/{subresource}"),
        [resource, ..] => (*resource).to_owned(),
        [] => return false,
    };
    let verb = match *method {
        Method::GET if parts.len() > 1 => "get",
        Method::GET if query.contains("watch=true") => "watch",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => return false,
    };
    rbac::WATCHED.iter().chain(rbac::WEBHOOK).any(|rule| {
        rule.api_group == group && rule.resources.contains(&resource.as_str()) && rule.verbs.contains(&verb)
    })
}
