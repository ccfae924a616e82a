"""The commands of reviews against the real API: a physician gets a token, signs, amends, retracts."""

from tests.command_line import answer_of, command_line
from tests.conftest import Api
from tests.reviews import reported


def test_physician_signs_amends_and_retracts_on_the_command_line(api: Api) -> None:
    first = reported(api.prepared, (0.9, 0.2, 0.3))
    with command_line(api) as run:
        refused = run("review", first, "--agree", "effusion", "--sign")
        assert refused.exit_code == 1
        assert "token create --principal NAME --scope review --role physician" in refused.stderr
        words = ["--principal", "dr.a", "--scope", "review", "--scope", "read", "--role", "physician"]
        token = answer_of(run("token", "create", *words))["token"]
        assert answer_of(run("principals"))["items"][0]["roles"] == ["physician"]

        noted = answer_of(run("review", first, "--disagree", "mass", "--note", "mass=at the hilum", token=token))
        lacking = run("review", noted["id"], "--agree", "effusion", "--sign", token=token)
        assert "none on nodule" in lacking.stderr
        final = answer_of(
            run("review", noted["id"], "--agree", "effusion", "--unsure", "nodule", "--sign", token=token)
        )
        assert [one["verdict"] for one in final["review"]["verdicts"]] == ["agree", "disagree", "unsure"]
        assert final["review"]["verdicts"][1]["note"] == "at the hilum"
        late = run("review", first, "--agree", "mass", token=token)
        assert (late.exit_code, final["id"] in late.stderr) == (1, True)

        amended = answer_of(run("amend", final["id"], "--agree", "nodule", "--reason", "seen in the CT", token=token))
        rows = answer_of(run("quality", token=token))["items"]
        assert {(one["finding"], one["reviewer"], one["unsure"]) for one in rows} == {
            (code, who, 0) for code in ("effusion", "mass", "nodule") for who in (None, "dr.a")
        }
        gone = answer_of(run("retract", amended["id"], "--reason", "another patient's films", token=token))
        versions = answer_of(run("report", gone["id"], "--versions", token=token))["items"]
        assert [one["status"] for one in versions] == [
            "preliminary",
            "preliminary",
            "final",
            "amended",
            "retracted",
        ]
