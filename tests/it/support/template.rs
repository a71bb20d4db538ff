//! CloudFormation templates, as far as a test can tell what they come to: parameters, conditions, and the intrinsic
//! functions that ours use. What only a deployment knows stays as `<Resource.Attribute>`.

use std::collections::BTreeMap;
use std::path::Path;

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};

use super::OWN;

pub struct Template {
    whole: Value,
    parameters: BTreeMap<String, Value>,
}

impl Template {
    /// Reads `infra/<name>.yaml`, with its parameters' defaults but for those that are given.
    pub fn load(name: &str, parameters: &[(&str, &str)]) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("infra").join(name);
        let text = std::fs::read_to_string(path).unwrap();
        let whole = json_of(&Yaml::load_from_str(&text).unwrap()[0]);
        let mut values = BTreeMap::new();
        for (name, parameter) in whole["Parameters"].as_object().unwrap() {
            let given = parameters.iter().find(|(given, _)| given == name).map(|(_, value)| json!(value));
            let value = given.unwrap_or_else(|| parameter["Default"].clone());
            let value = match (parameter["Type"].as_str().unwrap(), value) {
                ("CommaDelimitedList", Value::String(list)) => json!(list.split(',').collect::<Vec<_>>()),
                (_, value) => value,
            };
            values.insert(name.clone(), value);
        }
        for (name, _) in parameters {
            assert!(values.contains_key(*name), "there is no parameter {name}");
        }
        Self { whole, parameters: values }
    }

    pub fn parameter(&self, name: &str) -> &Value {
        &self.parameters[name]
    }

    /// The properties of a resource, or `None` where a condition leaves it out.
    pub fn resource(&self, name: &str) -> Option<Value> {
        let resource = &self.whole["Resources"][name];
        assert!(resource.is_object(), "there is no resource {name}");
        let made = resource["Condition"].as_str().is_none_or(|condition| self.condition(condition));
        made.then(|| self.resolve(&resource["Properties"]).unwrap())
    }

    /// What CloudFormation makes before a resource, though the resource does not refer to it.
    pub fn depends_on(&self, name: &str) -> Vec<&str> {
        let names = self.whole["Resources"][name]["DependsOn"].as_array();
        names.into_iter().flatten().map(|name| name.as_str().unwrap()).collect()
    }

    /// The names of all resources.
    pub fn names(&self) -> Vec<String> {
        self.whole["Resources"].as_object().unwrap().keys().cloned().collect()
    }

    /// The kinds of all resources.
    pub fn kinds(&self) -> std::collections::BTreeSet<String> {
        let resources = self.whole["Resources"].as_object().unwrap().values();
        resources.map(|resource| resource["Type"].as_str().unwrap().to_owned()).collect()
    }

    /// The resources of a kind.
    pub fn of_kind(&self, kind: &str) -> Vec<(String, Value)> {
        let resources = self.whole["Resources"].as_object().unwrap();
        let of_kind = resources.iter().filter(|(_, resource)| resource["Type"] == kind);
        of_kind.filter_map(|(name, _)| Some((name.clone(), self.resource(name)?))).collect()
    }

    /// Whether the template may be deployed in a region.
    pub fn allows_region(&self, region: &str) -> bool {
        let mut here = Self { whole: self.whole.clone(), parameters: self.parameters.clone() };
        here.parameters.insert("AWS::Region".to_owned(), json!(region));
        !here.refused_by().contains(&"WhereIamEventsArrive".to_owned())
    }

    /// The rules that refuse these parameters.
    pub fn refused_by(&self) -> Vec<String> {
        let rules = self.whole["Rules"].as_object().unwrap().iter();
        let refuses = |rule: &Value| {
            rule["Assertions"].as_array().unwrap().iter().any(|assertion| !self.holds(&assertion["Assert"]))
        };
        rules.filter(|(_, rule)| refuses(rule)).map(|(name, _)| name.clone()).collect()
    }

    fn condition(&self, name: &str) -> bool {
        self.holds(&self.whole["Conditions"][name])
    }

    fn holds(&self, condition: &Value) -> bool {
        let (function, argument) = only(condition);
        let each = || argument.as_array().unwrap().iter();
        match function {
            "Fn::Equals" => {
                let sides: Vec<_> = each().map(|side| self.resolve(side)).collect();
                sides[0] == sides[1]
            }
            "Fn::EachMemberEquals" => {
                let (list, one) = (self.resolve(&argument[0]).unwrap(), self.resolve(&argument[1]).unwrap());
                list.as_array().unwrap().iter().all(|member| *member == one)
            }
            "Fn::Contains" => {
                let (list, one) = (self.resolve(&argument[0]).unwrap(), self.resolve(&argument[1]).unwrap());
                list.as_array().unwrap().contains(&one)
            }
            "Fn::Not" => !self.holds(&argument[0]),
            "Fn::And" => each().all(|one| self.holds(one)),
            "Fn::Or" => each().any(|one| self.holds(one)),
            "Condition" => self.condition(argument.as_str().unwrap()),
            other => panic!("{other} is no condition that is known here"),
        }
    }

    /// The value without its intrinsic functions; `None` for no value.
    fn resolve(&self, value: &Value) -> Option<Value> {
        match value {
            Value::Array(items) => Some(items.iter().filter_map(|item| self.resolve(item)).collect()),
            Value::Object(fields) if fields.len() == 1 && is_function(only(value).0) => {
                self.call(only(value).0, only(value).1)
            }
            Value::Object(fields) => {
                let resolved =
                    fields.iter().filter_map(|(name, value)| Some((name.clone(), self.resolve(value)?)));
                Some(Value::Object(resolved.collect()))
            }
            other => Some(other.clone()),
        }
    }

    fn call(&self, function: &str, argument: &Value) -> Option<Value> {
        match function {
            "Ref" => self.reference(argument.as_str().unwrap()),
            "Fn::GetAtt" => Some(json!(format!("<{}>", argument.as_str().unwrap()))),
            "Fn::If" => {
                let branch = if self.condition(argument[0].as_str().unwrap()) { 1 } else { 2 };
                self.resolve(&argument[branch])
            }
            "Fn::Split" => {
                let text = self.resolve(&argument[1]).unwrap();
                let parts = text.as_str().unwrap().split(argument[0].as_str().unwrap());
                Some(json!(parts.collect::<Vec<_>>()))
            }
            "Fn::Join" => {
                let list = self.resolve(&argument[1]).unwrap();
                let parts: Vec<_> =
                    list.as_array().unwrap().iter().map(|part| part.as_str().unwrap()).collect();
                Some(json!(parts.join(argument[0].as_str().unwrap())))
            }
            "Fn::Select" => {
                let list = self.resolve(&argument[1]).unwrap();
                Some(list[usize::try_from(argument[0].as_u64().unwrap()).unwrap()].clone())
            }
            "Fn::Sub" => {
                let (text, named) = match argument {
                    Value::Array(parts) => (&parts[0], parts[1].as_object().unwrap().clone()),
                    text => (text, Map::new()),
                };
                let mut pieces = text.as_str().unwrap().split("${");
                let mut result = pieces.next().unwrap().to_owned();
                for piece in pieces {
                    let (name, rest) = piece.split_once('}').unwrap();
                    let value = match (name.strip_prefix('!'), named.get(name)) {
                        (Some(literal), _) => json!(format!("${{{literal}}}")),
                        (None, Some(value)) => self.resolve(value).unwrap(),
                        (None, None) if name.contains('.') => json!(format!("<{name}>")),
                        (None, None) => self.reference(name).unwrap(),
                    };
                    result.push_str(value.as_str().map_or_else(|| value.to_string(), str::to_owned).as_str());
                    result.push_str(rest);
                }
                Some(json!(result))
            }
            other => panic!("{other} is not known here"),
        }
    }

    fn reference(&self, name: &str) -> Option<Value> {
        if let Some(value) = self.parameters.get(name) {
            return Some(value.clone());
        }
        Some(match name {
            "AWS::NoValue" => return None,
            "AWS::Partition" => json!("aws"),
            "AWS::Region" => json!("us-east-1"),
            "AWS::AccountId" => json!(OWN),
            "AWS::StackName" => json!("bedrock-key-guard"),
            "AWS::URLSuffix" => json!("amazonaws.com"),
            resource => {
                assert!(self.whole["Resources"][resource].is_object(), "{resource} is nothing");
                json!(format!("<{resource}>"))
            }
        })
    }
}

fn is_function(name: &str) -> bool {
    name == "Ref" || name.starts_with("Fn::")
}

fn only(value: &Value) -> (&str, &Value) {
    let (name, value) = value.as_object().and_then(|fields| fields.iter().next()).expect("one function");
    (name, value)
}

/// `!Sub …` is short for `{"Fn::Sub": …}`.
fn json_of(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(scalar) => match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(flag) => json!(flag),
            Scalar::Integer(number) => json!(number),
            Scalar::FloatingPoint(number) => json!(number.into_inner()),
            Scalar::String(text) => json!(text),
        },
        Yaml::Sequence(items) => items.iter().map(json_of).collect(),
        Yaml::Mapping(fields) => {
            let named =
                fields.iter().map(|(name, value)| (name.as_str().unwrap().to_owned(), json_of(value)));
            Value::Object(named.collect())
        }
        Yaml::Tagged(tag, value) => {
            let name = match tag.suffix.as_ref() {
                short @ ("Ref" | "Condition") => short.to_owned(),
                function => format!("Fn::{function}"),
            };
            json!({ name: json_of(value) })
        }
        other => panic!("{other:?} is not known here"),
    }
}
