import pytest

from robolearn.config import ConfigError
from sim.robots import load_robot

JOINTS = ["left_hip", "right_hip"]
CASES = {
    "misspelt entry": ({"kpp": 3.0}, "unknown key 'kpp'. Did you mean 'kp'"),
    "no model": ({"model": None}, "model: required entry is missing"),
    "empty model": ({"model": {}}, "model: give either 'file'"),
    "two models": ({"model": {"package": "gymnasium"}}, "model: give either 'file'"),
    "missing file": ({"model": {"file": "nowhere.xml"}}, "model.file: .*nowhere.xml does not exist"),
    "unknown package": (
        {"model": {"package": "no_such_robots", "file": "a.xml"}},
        "model.package: 'no_such_robots' is not",
    ),
    "unknown base": ({"base": "trunk"}, "base: unknown body at the top of the model 'trunk'"),
    "two bases": ({"model": {"file": "two.xml"}}, "base: exactly one body .* found one, two"),
    "base on a rail": ({"model": {"file": "rail.xml"}}, "base: 'cart' has the joint 'rail'"),
    "unknown joint": (
        {"joints": ["left_hipp", "right_hip"]},
        "joints: unknown joint 'left_hipp'. Did you mean 'left_hip'",
    ),
    "not a hinge": ({"joints": [*JOINTS, "slider"], "locked_joints": ["shoulder"]}, "joints: 'slider' is not a hinge"),
    "joint left over": (
        {"locked_joints": ["slider"]},
        "joints: 'shoulder' of the model is neither in joints nor in locked",
    ),
    "joint twice": ({"joints": [*JOINTS, "left_hip"]}, "joints: 'left_hip' is given twice"),
    "no joint": ({"joints": []}, "joints: no joint is left"),
    "locked and controlled": ({"locked_joints": [".*"]}, "locked_joints: 'left_hip' is also in joints"),
    "unknown lock": ({"locked_joints": ["elbow"]}, "locked_joints: unknown joint 'elbow'"),
    "pose outside limits": ({"default_pose": 1.2}, r"default_pose: 'left_hip' is 1.2 rad, outside its limits \[-1.04"),
    "pose of wrong length": ({"default_pose": [0.1]}, "default_pose: 1 values for 2 joints"),
    "pose of unknown joint": ({"default_pose": {"knee": 0.0}}, "default_pose: unknown joint 'knee'"),
    "pose of too few": ({"default_pose": {"left_hip": 0.0}}, "default_pose: no value for joint 'right_hip'"),
    "bad pattern": ({"kp": {"(": 1.0}}, r"kp: '\(' is neither a name nor a valid pattern"),
    "kp is zero": ({"kp": 0.0}, "kp: must be positive, got 0 for 'left_hip'"),
    "kd is negative": ({"kd": {".*": -0.1}}, "kd: must be zero or positive, got -0.1"),
    "kp is text": ({"kp": {"left_hip": "stiff"}}, "kp.left_hip: expected a number"),
    "no effort": ({"effort_limit": {"left_hip": 3.0}}, "effort_limit: no value for joint 'right_hip'"),
    "no velocity": ({"velocity_limit": None}, "velocity_limit: the model gives none for joint 'left_hip'"),
    "limits reversed": ({"position_limit": {".*": [1.0, -1.0]}}, "position_limit: the lower limit of 'left_hip'"),
    "no feet": ({"feet": []}, "feet: at least one"),
    "foot twice": ({"feet": ["left_sole", "left_sole"]}, "feet: a foot is given twice"),
    "unknown foot": ({"feet": ["left_soul"]}, "feet: unknown geom, site, body 'left_soul'. Did you mean 'left_sole'"),
    "foot of wrong kind": ({"feet": {"left": {"body": "left_sole"}}}, "feet: unknown body 'left_sole'"),
    "foot of two kinds": ({"feet": {"left": {"body": "a", "geom": "b"}}}, "exactly one of 'geom', 'body', 'site'"),
    "place of a site": (
        {"feet": {"left": {"site": "a", "at": [0, 0, 0]}}},
        "feet.left: 'at' goes with a geom or a body",
    ),
    "base too low": ({"base_height": 0.2}, r"base_height: at 0.2 m foot 'left_sole' starts 0.1\d\d m below the ground"),
    "target below ground": ({"target_height": -0.2}, "target_height: must be positive"),
    "unknown end body": ({"termination_bodies": ["head"]}, "termination_bodies: unknown body 'head'"),
    "unknown contact body": ({"undesired_contact_bodies": ["head"]}, "undesired_contact_bodies: unknown body 'head'"),
    "unknown mirror": ({"mirror": {"joints": {"left_hip": "right_knee"}}}, "mirror.joints: unknown joint 'right_knee'"),
    "unknown collision": ({"collision": "primitive"}, "collision: .* Did you mean 'primitives'"),
    "lock out of reach": (
        {"locked_joints": {"shoulder": 0.0, "slider": "up"}},
        "locked_joints.slider: expected a number",
    ),
}
TWO = "<mujoco><worldbody><body name='{}'><joint name='{}' type='{}'/><geom size='.1'/></body>{}</worldbody></mujoco>"
MASSLESS = (
    """<mujoco><worldbody><body name="a"><geom size=".1"/><body name="b"><joint/></body></body></worldbody></mujoco>"""
)


@pytest.mark.parametrize("case", CASES)
def test_the_message_names_the_entry(files, case):
    changes, message = CASES[case]
    second = "<body name='two'><joint name='b'/><geom size='.1'/></body>"
    files.write("two.xml", TWO.format("one", "a", "hinge", second))
    files.write("rail.xml", TWO.format("cart", "rail", "slide", ""))
    with pytest.raises(ConfigError, match=message) as error:
        load_robot(files.describe(**changes))
    assert "robot.yaml" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<mujoco><worldbody>", "is not valid XML"),
        ("<sdf/>", "root element <sdf>"),
        (MASSLESS, "MuJoCo refuses"),
        ("<mujoco><wordlbody/></mujoco>", "MuJoCo cannot read"),
    ],
)
def test_broken_models_are_refused(files, text, message):
    files.write("robot.xml", text)
    with pytest.raises(ConfigError, match=message):
        load_robot(files.describe(joints=None, locked_joints=None, feet=["a"]))


def test_limits_must_come_from_somewhere(files):
    text = (files.folder / "robot.xml").read_text()
    files.write("robot.xml", text.replace(' range="-60 60"', ""))
    with pytest.raises(ConfigError, match="position_limit: joint 'left_hip' has no limits"):
        load_robot(files.describe())
    robot = load_robot(files.describe(position_limit={".*_hip": [-0.5, 0.5]}))
    assert robot.position_limit == ((-0.5, 0.5), (-0.5, 0.5))
    files.write("robot.xml", text.replace(' ctrlrange="-2.5 2.5"', ""))
    with pytest.raises(ConfigError, match="effort_limit: the model gives none for joint 'left_hip'"):
        load_robot(files.describe())


def test_names_and_paths():
    with pytest.raises(ConfigError, match=r"unknown robot 'alienog'. Did you mean 'aliengo'"):
        load_robot("alienog")
    with pytest.raises(ConfigError, match=r"A path must end in \.yaml"):
        load_robot("robots/mine.xml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_robot("robots/mine.yaml")
