//! What hides an event is named, and what says that there is none is no problem.

use super::*;

/// What a file in a directory has in it: how many events are found, and how many problems.
fn counts(bytes: impl AsRef<[u8]>) -> (usize, usize) {
    let (events, problems, _) = read_file(bytes.as_ref());
    (events, problems.len())
}

fn whole_record() -> Value {
    envelope()["detail"].clone()
}

#[test]
fn a_message_that_cannot_be_decoded_is_named() {
    let text = envelope().to_string();
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let token = "aZ09".repeat(100);
    let body =
        |body: &str| json!({"Records": [{"eventSource": "aws:sqs", "receiptHandle": token, "body": body}]});
    let stream = |data: &[u8]| json!({"Records": [{"eventSource": "aws:kinesis", "eventName": "aws:kinesis:record", "kinesis": {"data": STANDARD.encode(data)}}]});
    let kafka = json!({"eventSource": "aws:kafka", "records": {"a": [{"value": STANDARD.encode(zip(text.as_bytes()))}]}});
    let opaque = STANDARD.encode(zip(text.as_bytes()));
    let custom = json!({"source": "x", "detail-type": "y", "detail": {"d": opaque}});
    for hidden in [stream(&utf16), stream(&zip(text.as_bytes())), body(&opaque), kafka, custom.clone()] {
        assert_eq!(counts(hidden.to_string()), (0, 1), "{hidden}");
    }
    let mut of_aws = custom;
    of_aws["source"] = json!("aws.sts");
    let session = json!({"source": "x", "detail-type": "y", "detail": {"d": "hello"}});
    for other in [body("{}"), stream(b"{\"a\":1}"), of_aws, session] {
        assert_eq!(counts(other.to_string()), (0, 0), "{other}");
    }
}

#[test]
fn a_record_in_a_log_of_another_service_is_named_and_not_judged() {
    let waf = |agent: &str| json!({"webaclId": "a", "httpRequest": {"headers": [{"name": "User-Agent", "value": agent}]}});
    let lines = |agent: &str| format!("{}\n{}\n", waf("curl"), waf(agent));
    let text = whole_record().to_string();
    assert_eq!(counts(lines(&text)), (0, 1));
    assert_eq!(counts(lines(&STANDARD.encode(&text))), (0, 1));
    assert_eq!(counts(lines("CreateServiceSpecificCredential")), (0, 0));
}

#[test]
fn an_empty_answer_is_no_problem() {
    let token = "aZ09".repeat(100);
    for answer in [
        json!({"Events": []}).to_string(),
        json!({"Events": [], "NextToken": token}).to_string(),
        json!({"events": [], "searchedLogStreams": [], "nextToken": token}).to_string(),
        json!({"QueryStatus": "FINISHED", "QueryResultRows": []}).to_string(),
        json!({"results": [], "status": "Complete"}).to_string(),
        json!({"took": 1, "hits": {"total": {"value": 0}, "hits": []}}).to_string(),
        json!({"preview": false, "lastrow": true}).to_string(),
        "\"record\"\n".to_owned(),
        "\"eventversion\",\"useridentity\"\n".to_owned(),
    ] {
        let (events, problems, passed_over) = read(&Source::stdin(), answer.as_bytes());
        assert_eq!((events, problems.as_slice()), (0, [].as_slice()), "{answer}");
        assert_eq!(passed_over.to_string(), "passed over: 1 empty answer", "{answer}");
    }
    for other in
        [json!({"results": [], "status": "Running"}), json!({"Events": [], "data": token}), json!({"a": 1})]
    {
        let (_, problems, _) = read(&Source::stdin(), other.to_string().as_bytes());
        assert_eq!(problems.len(), 1, "{other}");
    }
}

#[test]
fn a_record_behind_text_is_read_after_one_that_stands_alone() {
    let record = whole_record().to_string();
    let read_both = |text: &str| {
        let (events, problems, _) = read(&Source::stdin(), text.as_bytes());
        assert_eq!((events, problems.len()), counts(text), "{text}");
        (events, problems.len())
    };
    assert_eq!(read_both(&format!("{record}\n2026 host: {record}\nhost: {record}\n{record}\n")), (4, 0));
    assert_eq!(read_both(&format!("{record}\n2026 CreateServiceSpecificCredential: {record}")), (1, 1));
    let name = record.split("\"eventName\":\"").nth(1).unwrap().split('"').next().unwrap();
    let cells = |rest: &str| format!("EVENTS\tASIA\t{record}\t{rest}\nRESOURCES\tsvc-a\tAWS::IAM::User\n");
    assert_eq!(read_both(&cells(&format!("e0e\t{name}\t2026-11-20\tiam.amazonaws.com\tfalse"))), (1, 0));
    assert_eq!(read_both(&cells("e0e\tResetServiceSpecificCredential\tiam.amazonaws.com")).1, 1);
}

#[test]
fn what_looks_like_base64_is_called_what_it_is() {
    let record = whole_record().to_string();
    let says = |text: &str| read(&Source::stdin(), text.as_bytes()).1.concat();
    let hex = record.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    assert!(says(&hex).contains("it begins with hexadecimal digits"), "{}", says(&hex));
    assert!(
        says(&format!("{}\n{record}", "z".repeat(5_000))).contains("it begins with thousands of letters")
    );
    let base64 = says(&STANDARD.encode(&record));
    assert!(
        base64.contains("it is Base64 and nothing else") && base64.contains("into this command"),
        "{base64}"
    );
}

#[test]
fn what_lies_behind_something_else_is_named() {
    let record = whole_record().to_string();
    let one = zip(record.as_bytes());
    for bytes in [[&one[..], &one].concat(), [&one[..], record.as_bytes()].concat()] {
        assert_eq!(counts(&bytes), (1, 1));
    }
    assert_eq!(counts(&one), (1, 0));
    let commented = {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        archive.set_comment("hello").unwrap();
        archive.finish().unwrap().into_inner()
    };
    assert_eq!(counts(commented), (0, 0));
    for head in [&b"\x89PNG\r\n\x1a\n"[..], b"GIF89a", b"\xff\xd8\xff\xe0", b"\0\x05\x16\x07\0\x02\0\0"] {
        let padding = vec![0; 70_000];
        assert_eq!(counts([head, &padding, record.as_bytes()].concat()), (0, 1));
        assert_eq!(counts([head, &padding].concat()), (0, 0));
    }
    let encoded = STANDARD.encode(gzip(record.as_bytes()));
    let pieces = |length: usize| -> Value {
        encoded.as_bytes().chunks(length).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
    };
    for length in [64, 76, 200] {
        assert_eq!(counts(json!({"lines": pieces(length)}).to_string()), (0, 1), "{length}");
    }
    let digests = vec!["0123456789abcdef".repeat(4); 20];
    assert_eq!(counts(json!({ "digests": digests }).to_string()), (0, 0));
}

/// Athena's columns have it, and `hunt athena` puts it into its records.
#[test]
fn a_row_says_that_the_session_was_of_a_console() {
    let mut record = whole_record();
    record["sessionCredentialFromConsole"] = json!("true");
    let cell = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.write_record(record.as_object().unwrap().keys().map(|name| name.to_lowercase())).unwrap();
    writer.write_record(record.as_object().unwrap().values().map(cell)).unwrap();
    let (to, from) = sync_channel(10);
    let mut sink = Sink::new(&to, Detail::Events);
    let rows = writer.into_inner().unwrap();
    assert!(Worker::new(Detail::Events).stream(&Source::stdin(), &mut &*rows, &mut sink).is_ok());
    let Ok(Found::Event(event)) = from.try_recv() else { panic!() };
    assert!(event.provenance.actor.console);
}

/// What is looked for by `usage` is named as what `replay` looks for.
#[test]
fn what_hides_a_call_with_a_bearer_token_is_named() {
    let record = used()["detail"].to_string();
    let count = |text: &str| {
        let (events, problems, _) = read_file_for(Detail::Uses, text.as_bytes());
        (events, problems.len())
    };
    let encoded = STANDARD.encode(gzip(record.as_bytes()));
    let cut = &record[..record.len() - 5];
    let messages = |one: &str| json!({"logEvents": [{"message": record}, {"message": one}]}).to_string();
    let renamed = record.replace("eventName", "event_name");
    for (text, counts) in [
        (json!({"awslogs": {"data": encoded}}).to_string(), (1, 0)),
        (
            json!({"Records": [{"eventSource": "aws:kinesis", "kinesis": {"data": encoded}}]}).to_string(),
            (1, 0),
        ),
        (log_file(&other_record(&json!(encoded)).to_string()), (0, 1)),
        (log_file(&other_record(&json!(STANDARD.encode(&record))).to_string()), (0, 1)),
        (log_file(&other_record(&json!(cut)).to_string()), (0, 1)),
        (messages(cut), (1, 1)),
        (messages(&renamed), (1, 1)),
        (format!("2026 host: {record}\n2026 host: {cut}\n"), (1, 1)),
        (format!("2026 host: {record}\n2026 host: CreateServiceSpecificCredential\n"), (1, 0)),
        (messages("{ $.additionalEventData.callWithBearerToken IS TRUE }"), (1, 0)),
        (messages("CreateServiceSpecificCredential"), (1, 0)),
        (log_file(&whole_record().to_string()), (0, 0)),
    ] {
        assert_eq!(count(&text), counts, "{text}");
    }
}

#[test]
fn a_record_that_says_twice_what_it_is_is_named() {
    let record = whole_record().to_string();
    let with = |field: &str| format!("{},{field}}}", &record[..record.len() - 1]);
    assert_eq!(counts(with("\"eventName\":\"GetUser\"")), (0, 1));
    assert_eq!(counts(with("\"eventSource\":\"s3.amazonaws.com\"")), (0, 1));
    assert_eq!(counts(with("\"a\":1,\"a\":2")), (1, 0));
    let twice = |field: &str, value: &str| {
        let inner = record.replace(&format!("\"{field}\":"), &format!("\"{field}\":{value},\"{field}\":"));
        assert_ne!(inner, record, "{field}");
        inner
    };
    for inner in [
        twice("userName", "\"svc-other\""),
        twice("serviceSpecificCredential", "{}"),
        twice("eventName", "\"GetUser\""),
        twice("requestParameters", "null"),
    ] {
        for text in [
            inner.clone(),
            log_file(&inner),
            json!({"Messages": [{"Body": inner}]}).to_string(),
            json!({"data": STANDARD.encode(gzip(inner.as_bytes()))}).to_string(),
            other_record(&json!(inner)).to_string(),
            format!("{{\"events\":[{inner},{{}}]}}"),
            String::from_utf8(csv(&inner)).unwrap(),
        ] {
            assert_eq!(counts(&text), (0, 1), "{text}");
        }
        // Another event beside it is found.
        let both = format!("{{\"events\":[{inner},{record}]}}");
        assert_eq!(counts(&both), (1, 1), "{both}");
    }
}

#[test]
fn a_list_of_keys_with_a_record_is_named_as_both() {
    let list = |x: &Value| json!({"ServiceSpecificCredentials": [], "x": x}).to_string();
    assert_eq!(counts(list(&whole_record())), (0, 2));
    assert_eq!(counts(list(&Value::Null)), (0, 1));
}

#[test]
fn base64_in_lines_is_named_and_words_are_not() {
    let encoded = STANDARD.encode(gzip(whole_record().to_string().as_bytes()));
    let broken = |width: usize, indent: &str| {
        let lines = encoded.as_bytes().chunks(width).map(|line| String::from_utf8_lossy(line).into_owned());
        lines.map(|line| format!("{indent}{line}\r\n")).collect::<Vec<_>>().concat()
    };
    for width in [16, 48, 64, 76, 100] {
        for head in ["log:\n", "From: a, b\nContent-Transfer-Encoding: base64\n\n", "data: !!binary |\n"] {
            assert_eq!(counts(format!("{head}{}", broken(width, "  "))), (0, 1), "{width} {head}");
        }
    }
    let record = whole_record().to_string();
    assert_eq!(counts(format!("{}{record}\n", "hello\n".repeat(20_000))).0, 1);
    let ids = "AKIAEXAMPLEKEY000001\n".repeat(50);
    assert_eq!(counts(format!("ids:\n{ids}")), (0, 0));
}

#[test]
fn bytes_that_are_printed_as_numbers_or_escapes_are_read_or_named() {
    let record = whole_record().to_string();
    let packed = gzip(record.as_bytes());
    for bytes in [record.as_bytes(), &packed] {
        assert_eq!(counts(json!({"type": "Buffer", "data": bytes}).to_string()), (1, 0));
    }
    assert_eq!(counts(json!({"counts": vec![7; 300]}).to_string()), (0, 0));
    let python = packed.iter().fold("b'".to_owned(), |text, byte| text + &format!("\\x{byte:02x}"));
    assert_eq!(counts(format!("got {python}'\n")), (0, 1));
    assert_eq!(counts(json!({ "data": python }).to_string()), (0, 1));
}

#[test]
fn a_record_that_is_cut_into_quoted_lines_is_named() {
    let record = whole_record().to_string();
    let cut = |at: usize, quote: &str| {
        let lines = record.as_bytes().chunks(at).map(|line| String::from_utf8_lossy(line).into_owned());
        lines.fold("Hi,\nsee:\n".to_owned(), |text, line| text + quote + &line + "\n")
    };
    let (events, problems) = counts(cut(60, "> "));
    assert_eq!(events, 0);
    assert!(problems > 0);
    assert_eq!(counts("Hi,\nlook at eventVersion, please\n"), (0, 0));
}

#[test]
fn what_cannot_hold_an_event_is_no_problem() {
    let image = "aZ09+/".repeat(100);
    let prompt =
        json!({"schemaType": "ModelInvocationLog", "operation": "Converse", "input": {"image": image}});
    let policy =
        json!({"Version": "2012-10-17", "Statement": [{"Action": "iam:CreateServiceSpecificCredential"}]});
    let balancer = |rest: &str| {
        format!(
            "https 2026-11-20T09:00:00.0Z app/a 203.0.113.9:1 - \"GET https://a/?n=CreateServiceSpecificCredential&i=iam.amazonaws.com HTTP/1.1\"{rest}\n"
        )
    };
    for bytes in [prompt.to_string(), policy.to_string(), balancer("")] {
        assert_eq!(counts(&bytes), (0, 0), "{bytes}");
    }
    assert_eq!(counts(balancer(" {\"eventName\":")), (0, 1));
    let padded = [gzip(whole_record().to_string().as_bytes()), vec![0; 70_000]].concat();
    assert_eq!(counts(&padded), (1, 0));
    assert_eq!(counts([&padded[..], b"\r\n"].concat()), (1, 0));
    assert_eq!(counts([&padded[..], b"x"].concat()), (1, 1));
}

#[test]
fn a_record_in_a_form_of_other_tools_is_read() {
    let record = whole_record();
    let text = record.to_string();
    let line = json!(text).to_string();
    assert_eq!(counts(format!("{line}\n{line}\n")), (2, 0));
    assert_eq!(counts(format!("{text}\n\u{feff}{text}\n")), (2, 0));
    let row = json!({"eventId": "e", "eventName": record["eventName"], "eventSource": record["eventSource"], "cloudTrailEvent": text});
    assert_eq!(counts(json!([row]).to_string()), (1, 0));
    let mut nested = record.clone();
    for name in ["userIdentity", "requestParameters", "responseElements"] {
        nested[name] = json!(record[name].to_string());
    }
    nested["eventTime"] = json!("2026-11-20 09:43:06.000");
    assert_eq!(counts(nested.to_string()), (1, 0));
    let large = json!({"Message": format!("{}{text}", " ".repeat(9 << 20))});
    assert_eq!(counts(large.to_string()), (1, 0));
    let large = json!({"Message": json!([text, "a".repeat(9 << 20)]).to_string()});
    assert_eq!(counts(large.to_string()), (0, 1));
}

#[test]
fn what_a_table_has_for_nothing_is_nothing() {
    let mut record = whole_record();
    for nothing in ["NULL", "\\N", "None", "-", "[NULL]", "nan"] {
        (record["errorCode"], record["addendum"]) = (json!(nothing), json!(nothing.trim_matches(['[', ']'])));
        let cell = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut writer = ::csv::Writer::from_writer(Vec::new());
        writer.write_record(record.as_object().unwrap().keys()).unwrap();
        writer.write_record(record.as_object().unwrap().values().map(cell)).unwrap();
        assert_eq!(counts(writer.into_inner().unwrap()), (1, 0), "{nothing}");
    }
}

#[test]
fn a_record_behind_quotes_is_read_where_it_is_no_part_of_json_or_of_a_table() {
    let record = whole_record().to_string();
    for before in [
        "<134>1 2026-11-20T09:00:00Z h app - - [m@1 y=\"z\"] ",
        "203.0.113.5 - - [20/Nov/2026:09:00:00 +0000] \"POST /hook\" 200 ",
        "level=\"info\" created: ",
        "é: ",
    ] {
        assert_eq!(counts(format!("{before}{record}\n{before}{record}\n")), (2, 0), "{before}");
    }
    // Who made a request has written this.
    let owner = "79a5".repeat(16);
    let forged = format!(
        "{owner} b [20/Nov/2026:09:00:00 +0000] 203.0.113.5 - R REST.GET.OBJECT k \"GET /k HTTP/1.1\" 200 \"x\" {record}\" -\n"
    );
    assert_eq!(counts(forged), (0, 1));
    for part in ["\"a\": ", "\"a\", ", "\"a: ", "\"a\": \"b\"} "] {
        assert_eq!(super::super::record_in(format!("x {part}{record}").as_bytes()), None, "{part}");
    }
}

#[test]
fn a_table_may_say_what_is_between_its_cells() {
    let record = whole_record();
    let cell = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for delimiter in [b',', b';', b'\t', b'|'] {
        let mut writer = ::csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
        writer.write_record(record.as_object().unwrap().keys()).unwrap();
        let names = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let mut writer = ::csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
        writer.write_record(record.as_object().unwrap().values().map(cell)).unwrap();
        let row = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let first = format!("sep={}\r\n", char::from(delimiter));
        assert_eq!(counts(format!("{first}{names}{row}{row}")), (2, 0), "{first}");
        assert_eq!(counts(format!("{first}{names}")), (0, 0), "{first}");
    }
}

#[test]
fn commas_between_values_are_no_damage() {
    let record = whole_record().to_string();
    assert_eq!(counts(format!("{record},\n{record},\n")), (2, 0));
    assert_eq!(counts(format!("{record}, oops,\n{record}")), (2, 1));
}

#[test]
fn a_table_of_one_column_may_have_records_of_several_lines() {
    let cell = format!("{:#}", whole_record()).replace('"', "\"\"");
    for header in ["\"_raw\"", "record"] {
        assert_eq!(counts(format!("{header}\n\"{cell}\"\n\"{cell}\"\n")), (2, 0), "{header}");
    }
}

#[test]
fn rows_that_athena_unloads_as_json_are_read() {
    let lower = |record: &Value| -> Value {
        let fields = record.as_object().unwrap().iter();
        fields.map(|(name, value)| (name.to_lowercase(), value.clone())).collect()
    };
    let mut row = lower(&whole_record());
    row["useridentity"] = lower(&row["useridentity"]);
    assert_eq!(counts(format!("{row}\n{row}\n")), (2, 0));
    let used = lower(&used()["detail"]).to_string();
    let (events, problems, _) = read_file_for(Detail::Uses, used.as_bytes());
    assert_eq!((events, problems.len()), (1, 0));
    row["eventName"] = json!("GetUser");
    assert_eq!(counts(row.to_string()).1, 1);
}
