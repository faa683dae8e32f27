//! What conditions are parsed into, what is said of wrong ones, and that texts of trees are parsed into equal trees.

use proptest::prelude::*;

use super::*;

/// Checks the text of the tree that a text is parsed into, or the error.
#[track_caller]
fn check(text: &str, expected: &str) {
    let found = match parse(text) {
        Ok(expression) => expression.to_string(),
        Err(error) => error.to_string(),
    };
    assert_eq!(found, expected, "{text}");
}

#[test]
fn conditions_are_read_as_people_write_them() {
    check("/imu.accel.x<-6 AND /odom.v>2", "/imu.accel.x < -6 and /odom.v > 2");
    check("/a.x = 1 or not (/a.y <> 2)", "/a.x == 1 or not /a.y != 2");
    check("a and (b or c)", "a and (b or c)");
    check("(a and b) or c", "a and b or c");
    check("/a.x / /b.y / 2 > 1", "/a.x / /b.y / 2 > 1");
    check("/a.in/2 > 1", "/a.in / 2 > 1");
    check("rate(/a)/2 > 1", "rate(/a) / 2 > 1");
    check("1 - (2 - 3) > -(4 + 5) * 6", "1 - (2 - 3) > -(4 + 5) * 6");
    check("age(/gps) > 1500ms", "age(/gps) > 1500ms");
    check("rate(/imu, 60s) < 1e3", "rate(/imu, 1min) < 1000.0");
    check("rate(/imu, 150ms) < 1", "at character 12, '150ms) < 1': rate counts over 100ms to 60s, in steps of 100ms");
    check(r#""/odd topic".a."b c"[3] in [1, 2]"#, r#""/odd topic".a."b c"[3] in (1, 2)"#);
    check(
        r#"/diagnostics.status["motor_left"].values['temp'] is not null"#,
        "/diagnostics.status['motor_left'].values['temp'] is not null",
    );
    check("/a.x not between 1 and 2 and b", "/a.x not between 1 and 2 and b");
    check(r"/log.msg not like 'it\'s 5\\%'", r"/log.msg not like 'it\'s 5\\%'");
    check("all(/scan.ranges, it < 0.3 or it.x['y'] is null)", "all(/scan.ranges, it < 0.3 or it.x['y'] is null)");
    check("within(/f.lat, /f.lon, 48.1, -11.5, 50)", "within(/f.lat, /f.lon, 48.1, -11.5, 50)");
    check("changed(/mode.data) or abs(delta(/v.data)) > sqrt(2)", "changed(/mode.data) or abs(delta(/v.data)) > sqrt(2)");
}

#[test]
fn mistakes_are_answered_with_their_place_and_a_remedy() {
    check("", "the condition is empty: write one like /imu.linear_acceleration.x < -6");
    check("/imu > 3", "at character 1, '/imu > 3': name a field of the topic: /imu.field; texts have single quotes");
    check("/a.x >", "at the end: a value is missing");
    check("/a.x > > 3", "at character 8, '> 3': a value is missing before '>'");
    check("1 < /a.x < 3", "at character 10, '< 3': a comparison has two sides: write 'a < b and b < c'");
    check("/a.x > 2 s", "at character 10, 's': durations are written without a space: 500ms, 2s");
    check("/a.x > 50m", "at character 8, '50m': there is no unit 'm': write 5min for minutes; metres have no unit");
    check("/a.x == null", "at character 9, 'null': nothing equals null: write 'is null' or 'is not null'");
    check("a && b", "at character 3, '&& b': write 'and' for &&");
    check("!a", "at character 1, '!a': write 'not' for !");
    check("imu.x > 1", "at character 1, 'imu.x > 1': a topic begins with a slash: /imu.field; a name without one is a device state");
    check("it > 3", "at character 1, 'it > 3': 'it' is the element that any(list, …) and all(list, …) look at; there is none here");
    check("abs(1, 2) > 1", "at character 1, 'abs(1, 2) > 1': abs is written abs(x)");
    check("rat(/a) > 1", "at character 1, 'rat(/a) > 1': there is no function rat; there are rate, abs, sqrt, any, all, …");
    check("age(/a.x) > 1s", "at character 1, 'age(/a.x) > 1s': age takes a topic, without a field: age(/a)");
    check("changed(/a)", "at character 1, 'changed(/a)': changed takes a field: changed(/a.field)");
    check("/a.x like \"b\"", "at character 11, '\"b\"': 'like' takes a text in single quotes: like 'motor%'");
    check("/a.x > 'b", "at character 8, ''b': the quote is not closed: a ' is missing");
    check("(a or b", "at the end: ')' is missing at the end of the parentheses");
    check("/a.x[-1] > 0", "at character 6, '-1] > 0': an element is named by its number, from 0, or by its name: [0], ['elbow']");
    check(
        "/a//b.x > 0",
        "at character 1, '/a//b.x > 0': a topic is written like /imu/data, and an odd name in double quotes: \"/odd name\"",
    );
    check("a b", "at character 3, 'b': the condition ends before this: 'and', 'or' or a comparison is missing");
    check("ä", "at character 1, 'ä': no condition has this character outside of quotes");
    assert!(parse(&"a and ".repeat(2000)).unwrap_err().to_string().contains("at most 8192"));
    for deep in ["(".repeat(100), "not ".repeat(100), "-".repeat(100), "1+".repeat(100)] {
        let error = parse(&format!("{deep}a")).unwrap_err().to_string();
        assert!(error.contains("more than 64 deep"), "{error}");
    }
}

fn literal() -> impl Strategy<Value = Literal> {
    prop_oneof![
        any::<bool>().prop_map(Literal::Bool),
        (0..=i64::MAX).prop_map(Literal::Int),
        (0.0..1e300).prop_map(Literal::Float),
        (0..1_000_000_000_000i64).prop_map(Literal::Duration),
        "[ -~ä\"'\\\\]{0,8}".prop_map(Literal::Text),
    ]
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        "[a-z_][a-z0-9_]{0,5}".prop_map(Part::Field),
        "[ -~ä]{0,6}".prop_map(Part::Field),
        any::<u32>().prop_map(Part::Index),
        "[ -~ä]{0,6}".prop_map(Part::Name)
    ]
}

fn topic() -> impl Strategy<Value = Reference> {
    prop_oneof!["(/[a-z0-9_]{1,5}){1,3}", "[ -~ä]{1,8}"].prop_map(|topic| Reference { topic, parts: Vec::new(), place: Place(0) })
}

fn field() -> impl Strategy<Value = Reference> {
    (topic(), prop::collection::vec(part(), 1..4)).prop_map(|(topic, parts)| Reference { parts, ..topic })
}

fn state() -> impl Strategy<Value = String> {
    "[a-z_][a-z0-9_]{0,8}".prop_filter("a name", |name| !RESERVED.contains(&name.as_str()) && name != "true" && name != "false")
}

fn comparison() -> impl Strategy<Value = Comparison> {
    use Comparison::*;
    prop::sample::select(vec![Equal, Unequal, Less, AtMost, Greater, AtLeast])
}

fn expression(inside: bool) -> BoxedStrategy<Expression> {
    let leaf = prop_oneof![
        literal().prop_map(Expression::Literal),
        state().prop_map(Expression::State),
        field().prop_map(Expression::Signal),
        field().prop_map(Expression::Changed),
        field().prop_map(Expression::Delta),
        topic().prop_map(Expression::Age),
        (topic(), prop::option::of(1..600i64))
            .prop_map(|(topic, steps)| Expression::Rate { topic, window_ns: steps.map(|n| n * 100_000_000) }),
    ]
    .boxed();
    let element = prop::collection::vec(part(), 0..3).prop_map(|parts| Expression::Element(parts, Place(0)));
    let leaf = if inside { prop_oneof![leaf, element].boxed() } else { leaf };
    leaf.prop_recursive(6, 40, 4, move |inner| {
        let two = (inner.clone(), inner.clone()).prop_map(|(a, b)| (Box::new(a), Box::new(b)));
        let many = prop::collection::vec(inner.clone(), 2..4);
        let one = inner.clone().prop_map(Box::new);
        use Arithmetic::*;
        let signs = prop::sample::select(vec![Add, Subtract, Multiply, Divide, Remainder]);
        let call = prop::sample::select(Function::ALL.to_vec()).prop_flat_map({
            let inner = inner.clone();
            move |function| prop::collection::vec(inner.clone(), function.arity()).prop_map(move |list| Expression::Call(function, list))
        });
        let all = prop_oneof![
            one.clone().prop_map(Expression::Not),
            one.clone().prop_map(Expression::Negate),
            many.clone().prop_map(Expression::And),
            many.clone().prop_map(Expression::Or),
            (comparison(), two.clone()).prop_map(|(sign, (a, b))| Expression::Compare(sign, a, b)),
            (signs, two.clone()).prop_map(|(sign, (a, b))| Expression::Arithmetic(sign, a, b)),
            (one.clone(), many, any::<bool>()).prop_map(|(value, list, negated)| Expression::In { value, list, negated }),
            (one.clone(), "[ -~ä]{0,6}", any::<bool>()).prop_map(|(value, pattern, negated)| Expression::Like { value, pattern, negated }),
            (one.clone(), two, any::<bool>()).prop_map(|(value, (low, high), negated)| Expression::Between { value, low, high, negated }),
            (one, any::<bool>()).prop_map(|(value, negated)| Expression::IsNull { value, negated }),
            call,
        ];
        if inside {
            return all.boxed();
        }
        let quantified = (any::<bool>(), field(), expression(true)).prop_map(|(every, list, condition)| Expression::Quantified {
            every,
            list,
            condition: Box::new(condition),
        });
        prop_oneof![9 => all, 1 => quantified].boxed()
    })
    .boxed()
}

proptest! {
    #[test]
    fn the_text_of_a_tree_is_parsed_into_an_equal_tree(expression in expression(false)) {
        let text = expression.to_string();
        prop_assume!(text.len() <= LENGTH_LIMIT);
        prop_assert_eq!(parse(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?, expression, "{}", text);
    }

    #[test]
    fn garbage_is_answered(text in "[-/a-z0-9 .,()<>=!'\"\\[\\]+*%äµ|&_]{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_text_is_answered(text in ".{0,200}", words in prop::collection::vec(prop::sample::select(vec![
        "/a.b", "it", "any(", "all(", "rate(", "age(", ",", ")", "(", "and", "or", "not", "in", "like", "between", "is", "null", "<", "=", "-",
        "'x'", "\"y\"", "[", "]", ".", "1", "2s", "1e9", "/", "within(", "wifi",
    ]), 0..30)) {
        let _ = parse(&text);
        let _ = parse(&words.join(" "));
    }
}
