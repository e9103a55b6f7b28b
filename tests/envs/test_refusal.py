import pickle

from envs.refusal import Refusal


def test_a_program_sees_the_fields_name_and_a_command_line_its_own():
    refusal = Refusal("-1 does not fit: a positive\nnumber is needed", field="learning_rate")
    assert str(refusal) == "learning_rate -1 does not fit: a positive number is needed"
    assert refusal.render(lambda name: "--" + name.replace("_", "-")) == (
        "--learning-rate -1 does not fit: a positive number is needed"
    )


def test_without_a_field_the_message_is_all():
    refusal = Refusal("run is no run folder: it holds no config.yaml")
    assert str(refusal) == refusal.render(str.upper) == "run is no run folder: it holds no config.yaml"


def test_it_crosses_from_process_to_process():
    refusal = pickle.loads(pickle.dumps(Refusal("3 does not fit", field="seed")))
    assert (refusal.message, refusal.field, str(refusal)) == ("3 does not fit", "seed", "seed 3 does not fit")
