use super::*;

fn from_file(text: &str) -> Result<Config, Mistakes> {
    Config::assemble(&Sources { file: Some(("muster.toml".into(), text.into())), ..Sources::default() })
}

fn mistakes(text: &str) -> Vec<String> {
    from_file(text).unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn the_reference_file_is_the_defaults() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/muster.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let config = from_file(&text).unwrap();
    assert_eq!(config.show(), Config::default().show());
    for key in keys::KEYS {
        assert!(
            text.contains(&format!("\n{} = ", key.word)) || text.contains(&format!("\n# {} = ", key.word))
        );
    }
}

#[test]
fn what_is_shown_reads_the_same() {
    let config = from_file(
        "[site]\nname = \"Lyon \\\"2\\\"\"\nhosts = [\"a.lan\", \"::1\"]\n[mqtt]\nplain = \"127.0.0.1:1883\"\n\
         [agent.commands.load]\nrun = [\"/bin/cat\", \"/proc/loadavg\"]\narguments = true\n",
    )
    .unwrap();
    assert_eq!(from_file(&config.show()).unwrap().show(), config.show());
    assert_eq!(config.agent.commands.len(), 1);
}

#[test]
fn later_sources_win() {
    let sources = Sources {
        file: Some((
            "f".into(),
            "[http]\naddress = \"127.0.0.1:1\"\n[mqtt]\naddress = \"127.0.0.1:2\"".into(),
        )),
        environment: vec![
            ("MUSTER_HTTP_ADDRESS".into(), "127.0.0.1:3".into()),
            ("MUSTER_MQTT_ADDRESS".into(), "127.0.0.1:4".into()),
            ("MUSTER_SITE_HOSTS".into(), "a.lan, 10.0.0.1".into()),
            ("MUSTER_AGENT_ENABLED".into(), "false".into()),
            ("MUSTER_MQTT_CONNECTIONS_MAX".into(), "7".into()),
        ],
        flags: vec![("--http", "http.address", "127.0.0.1:5".into())],
    };
    let config = Config::assemble(&sources).unwrap();
    assert_eq!((config.http.address.port(), config.mqtt.address.port()), (5, 4));
    assert_eq!(config.site.hosts, ["a.lan", "10.0.0.1"]);
    assert_eq!((config.agent.enabled, config.mqtt.connections_max), (false, 7));
}

#[test]
fn all_mistakes_are_told_in_one_go() {
    let text = "[site]\nnam = \"x\"\n\n[http]\naddress = 8443\n[mqtt]\nplain = \"0.0.0.0:1883\"\n\
                connections_max = \"many\"\n[storag]\nmetrics = \"1d\"\n[log]\nlevel = \"loud\"\n\
                [agent.commands.x]\nrun = []\ndescripton = \"\"\n";
    let sources = Sources {
        file: Some(("muster.toml".into(), text.into())),
        environment: vec![("MUSTER_HTTP_ADRESS".into(), "x".into())],
        flags: vec![("--mqtt", "mqtt.address", "nowhere".into())],
    };
    let told = Config::assemble(&sources).unwrap_err().0;
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    for part in [
        "muster.toml:2: there is no key in `[site]` named `nam`; did you mean `name`?",
        "muster.toml:5: `http.address`: the number 8443 is not a text in quotes; for example `\"0.0.0.0:8443\"`",
        "muster.toml:7: `mqtt.plain`: other hosts reach `0.0.0.0:1883`",
        "muster.toml:8: `mqtt.connections_max`: `many` is not a whole number from 1 to 1000000",
        "muster.toml:9: there is no section `storag`; did you mean `storage`?",
        "muster.toml:12: `log.level`: `loud` is not one of `error`, `warn`",
        "muster.toml:14: `agent.commands.x.run`: the list is empty",
        "muster.toml:15: there is no key of command `x` named `descripton`; did you mean `description`?",
        "MUSTER_HTTP_ADRESS: there is no variable `MUSTER_HTTP_ADRESS`; did you mean `MUSTER_HTTP_ADDRESS`?",
        "--mqtt: `mqtt.address`: `nowhere` is not an address with a port",
    ] {
        assert!(told.iter().any(|t| t.starts_with(part)), "missing {part}\nin {told:#?}");
    }
    assert_eq!(told.len(), 10, "{told:#?}");
}

#[test]
fn broken_toml_has_its_line() {
    let told = mistakes("[site]\nname = \"x\"\n[http\naddress = \"0.0.0.0:1\"\n");
    assert!(told[0].starts_with("muster.toml:3: this is not TOML"), "{told:?}");
    let told = mistakes("[site]\nname = \"x\"\nname = \"y\"\n");
    assert!(told[0].starts_with("muster.toml:3: "), "{told:?}");
}

#[test]
fn keys_that_contradict_each_other() {
    for (text, part) in [
        (
            "[http]\naddress = \"0.0.0.0:9\"\n[mqtt]\naddress = \"127.0.0.1:9\"",
            ":4: `mqtt.address`: port 9 is taken",
        ),
        ("[keys]\nkek = \"passphrase\"", ":2: `keys.kek`: there is no passphrase"),
        ("[storage]\nlogs = \"1s\"", ":2: `storage.logs`: `1s` is not a length of time from 1h"),
        ("[agent]\nlog_files = [\"x.log\"]", ":2: `agent.log_files`: `x.log` is not a whole path"),
        ("[site]\nhosts = [\"https://x\"]", ":2: `site.hosts`: `https://x` is not a host name"),
        (
            "[agent.commands.x]\nrun = [\"df\"]",
            ":2: `agent.commands.x.run`: `df` is not a program by its whole path",
        ),
        ("[agent]\nlabels = \"Site=x\"", ":2: `agent.labels`: label key `Site` is not valid"),
        (
            "[http]\nallow = [\"10.0.0.5/8\"]",
            ":2: `http.allow`: `10.0.0.5/8` has digits beyond its prefix; write `10.0.0.0/8`",
        ),
        ("[http]\ndeny = [\"plant\"]", ":2: `http.deny`: `plant` is not a network"),
        (
            "[mqtt]\nallow = [\"10.0.0.0/8\"]",
            ":2: `mqtt.allow` shuts this host's own agent out; let `127.0.0.1` in",
        ),
        ("[mqtt]\ndeny = [\"127.0.0.0/8\"]", ":2: `mqtt.deny` shuts this host's own agent out"),
        ("[http]\ncertificate = \"/x\"", ":2: `http.certificate` is set and `http.key` is not"),
        ("[http]\nkey = \"/x\"", ":2: `http.key` is set and `http.certificate` is not"),
        (
            "[http]\ncertificate = \"x.pem\"",
            ":2: `http.certificate`: `x.pem` is not a file by its whole path",
        ),
        ("[http]\ntls_minimum = \"1.1\"", ":2: `http.tls_minimum`: `1.1` is not one of `1.3`, `1.2`"),
        ("http = 1", ":1: `http` is a section, not a value"),
    ] {
        let told = mistakes(text);
        assert!(told.len() == 1 && told[0].contains(part), "{part}: {told:?}");
    }
    let networks = format!("[http]\ndeny = [{}]", "\"10.0.0.1\", ".repeat(limits::NETWORKS_MAX + 1));
    assert!(mistakes(&networks)[0].contains("257 networks are too many"));
    assert!(from_file("[http]\naddress = \"127.0.0.1:0\"\n[mqtt]\naddress = \"127.0.0.1:0\"").is_ok());
}

#[test]
fn a_passphrase_is_never_shown() {
    let secret = "correct horse battery staple";
    let config = from_file(&format!("[keys]\nkek = \"passphrase\"\npassphrase = \"{secret}\"")).unwrap();
    assert!(!config.show().contains(secret) && !format!("{config:?}").contains(secret));
    assert!(config.show().contains("# passphrase = \"[secret]\""));
    let told = mistakes("[keys]\npassphrase = \"short secret\"").join(" ");
    assert!(!told.contains("short secret"), "{told}");
}

#[test]
fn a_missing_file_is_a_mistake() {
    let told = Sources::of_process(Some(Path::new("/nowhere/muster.toml"))).unwrap_err();
    assert!(told.0[0].place.contains("/nowhere/muster.toml"));
}
