import genart_ripples

from genart.testing import check_stage, run_stage


def test_it_keeps_what_stages_promise(tmp_path):
    check_stage(genart_ripples.draw, work=tmp_path, count=3, resolution=16)


def test_pictures_stay_when_more_are_asked_for(tmp_path):
    few = run_stage(genart_ripples.draw, work=tmp_path / "few", count=2, resolution=16)["output"]
    more = run_stage(genart_ripples.draw, work=tmp_path / "more", count=5, resolution=16)["output"]
    assert (few[1].array == more[1].array).all()
    assert (more[0].array != more[1].array).any()
