"""The bugs: each a change of a few words that a hurried hand might make, and the tests that must fail for it."""

from __future__ import annotations

from dataclasses import dataclass

ORDER = "tests/faults/test_order.py::test_what_is_renamed_is_on_the_disk"
FAULTS = "tests/faults/test_io.py::test_after_any_fault_the_same_command_ends_in_the_same_bytes"
CRASH = "tests/test_store.py::test_a_crash_at_every_step_leaves_nothing_half_written"
DCGAN = "tests/plugins/dcgan/test_train.py"
PROGAN = "tests/plugins/progan/test_train.py"
FORMATS = "tests/test_formats.py"
FUZZ = "tests/fuzz/test_fuzz.py::test_what_broke_a_reader_does_not_any_more"


@dataclass(frozen=True)
class Bug:
    """One bug.

    Attributes:
        name: what is wrong.
        file: where, from the root of the project.
        old: text that stands there once.
        new: what a bug makes of it.
        tests: those of which one must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def planted(self, text: str) -> str:
        """The file with the bug in it."""
        return text.replace(self.old, self.new)


DURABILITY = (
    Bug(
        "a file is not synced before its rename",
        "genart/artifacts.py",
        "            file.flush()\n            os.fsync(file.fileno())\n        os.replace(temporary, path)",
        "            file.flush()\n        os.replace(temporary, path)",
        (f"{ORDER}[first-run]",),
    ),
    Bug(
        "a file is synced after its rename",
        "genart/artifacts.py",
        "            os.fsync(file.fileno())\n        os.replace(temporary, path)",
        "            os.replace(temporary, path)\n            os.fsync(file.fileno())",
        (f"{ORDER}[first-run]",),
    ),
    Bug(
        "a folder is not synced",
        "genart/artifacts.py",
        "        os.fsync(handle)\n    finally:\n        os.close(handle)",
        "        pass\n    finally:\n        os.close(handle)",
        (f"{ORDER}[first-run]",),
    ),
    Bug(
        "files of an entry are not synced",
        "genart/store.py",
        "        os.fsync(file.fileno())\n        return hashlib.file_digest",
        "        return hashlib.file_digest",
        (f"{ORDER}[first-run]", f"{ORDER}[training]"),
    ),
    Bug(
        "a saved output is not synced",
        "genart/folders.py",
        "        with self.alone(), self.read(name) as file:\n            os.fsync(file.fileno())",
        "        with self.alone(), self.read(name) as file:\n            file.fileno()",
        (f"{ORDER}[first-run]", "tests/test_runner.py::test_a_failed_save_leaves_the_old_output"),
    ),
    Bug(
        "a file is written in place",
        "genart/artifacts.py",
        '    temporary = (through or path.parent) / f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp"',
        "    temporary = path",
        ("tests/test_artifacts.py::test_write_atomically_leaves_the_old_file_when_it_fails",),
    ),
    Bug(
        "a temporary file stays after an error",
        "genart/artifacts.py",
        "    except BaseException:\n        temporary.unlink(missing_ok=True)\n        raise\n    sync_folder(path.parent)",
        "    except BaseException:\n        raise\n    sync_folder(path.parent)",
        ("tests/test_artifacts.py::test_write_atomically_leaves_the_old_file_when_it_fails",),
    ),
    Bug(
        "old outputs go before the new ones are there",
        "genart/provenance.py",
        "    folder.remove(temporary)\n    sweep(folder, name)\n    try:",
        "    folder.remove(temporary)\n    sweep(folder, name)\n    folder.remove(name)\n    try:",
        ("tests/test_runner.py::test_a_failed_save_leaves_the_old_output",),
    ),
    Bug(
        "an old folder does not come back when the new one cannot be put in its place",
        "genart/provenance.py",
        "            if replaced:\n                folder.rename(old, name)\n            raise",
        "            raise",
        ("tests/bugs/test_gaps.py::test_an_old_folder_comes_back_when_the_new_one_cannot_take_its_place",),
    ),
    Bug(
        "folders of what was half-built stay",
        "genart/store.py",
        "            with contextlib.suppress(OSError):\n                folder.rmdir()\n\n    def write",
        "            pass\n\n    def write",
        ("tests/bugs/test_gaps.py::test_a_run_leaves_nothing_in_the_store_but_results",),
    ),
    Bug(
        "the mark of an entry comes before its content",
        "genart/store.py",
        "        outputs: dict[str, Any] = {}\n        for output, kind in kinds.items():",
        '        outputs: dict[str, Any] = {}\n        building = self._place("entries", key)\n        for output, kind in kinds.items():',
        (f"{FAULTS}[first-run]", CRASH + "[replace]"),
    ),
    Bug(
        "a picture file that is linked into the store is written to",
        "genart/artifacts.py",
        "path.exists() and path.stat().st_nlink > 1",
        "path.exists() and path.stat().st_nlink > 9",
        ("tests/test_artifacts.py::test_a_link_to_the_store_is_not_written_to",),
    ),
    Bug(
        "pictures that were not synced are taken up",
        "genart/artifacts.py",
        "            file.truncate(end)\n            file.seek(end)",
        "            file.seek(0, 2)",
        ("tests/test_artifacts.py::test_a_killed_writer_goes_on_at_its_last_mark",),
    ),
    Bug(
        "leftovers of killed saves stay",
        "genart/provenance.py",
        "(int(match[1]) == os.getpid() or not is_alive(int(match[1])))",
        "is_alive(int(match[1]))",
        ("tests/test_runner.py::test_leftovers_of_a_killed_save_are_swept",),
    ),
)

STORE = (
    Bug(
        "what is read from the store is not compared with its hash",
        "genart/store.py",
        "        if entry.damaged():\n            self._remove_here(entry.key)\n            return False",
        "        if not entry.folder.is_dir():\n            self._remove_here(entry.key)\n            return False",
        ("tests/test_store.py::test_damage_in_any_file_is_found_and_mended[flip]",),
    ),
    Bug(
        "a manifest is not compared with its hash",
        "genart/store.py",
        "manifest.pop(SEAL, None) != sha256_of_json(manifest)",
        "manifest.pop(SEAL, None) is None",
        ("tests/bugs/test_gaps.py::test_a_manifest_that_says_something_else_is_no_entry",),
    ),
    Bug(
        "a missing file of an entry is no damage",
        "genart/store.py",
        'about["sizes"][name]) != wanted:',
        'about["sizes"][name]) not in (None, wanted):',
        ("tests/test_store.py::test_damage_in_any_file_is_found_and_mended[remove]",),
    ),
    Bug(
        "files of an entry are not compared with their hashes",
        "genart/store.py",
        'about["sizes"][name]) != wanted:',
        'about["sizes"][name]) is None:',
        ("tests/store/test_damage.py::test_any_bit_of_a_large_result_counts[1000]",),
    ),
    Bug(
        "clean-up removes what was used last",
        "genart/store.py",
        "for e in self.entries()), reverse=True)",
        "for e in self.entries()))",
        ("tests/test_store.py::test_gc_removes_the_longest_unused_first",),
    ),
    Bug(
        "use of an entry is not noted",
        "genart/store.py",
        "            os.utime(entry.folder)  # last used, for gc",
        "            os.stat(entry.folder)",
        ("tests/bugs/test_gaps.py::test_what_is_used_is_not_collected_first",),
    ),
    Bug(
        "clean-up sweeps what living processes are building",
        "genart/store.py",
        "or not is_in_use(folder.name):",
        "or folder.name:",
        ("tests/bugs/test_gaps.py::test_what_a_living_process_builds_is_not_swept",),
    ),
    Bug(
        "two processes that make the same result rely on the lock alone",
        "genart/store.py",
        "                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):\n                    raise",
        "                if error.errno:\n                    raise",
        ("tests/bugs/test_gaps.py::test_without_a_lock_the_first_of_two_equal_results_stays", f"{CRASH}[rename]"),
    ),
    Bug(
        "a lock whose file was removed still counts",
        "genart/store.py",
        "held = _stands_at(path, file.fileno())",
        "held = True",
        ("tests/bugs/test_gaps.py::test_a_lock_on_a_file_that_was_removed_meanwhile_is_none",),
    ),
    Bug(
        "a disk that fails looks like a fresh start",
        "genart/artifacts.py",
        "    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):  # a disk that fails is no reason to begin anew",
        "    except (OSError, ValueError, RecursionError):",
        ("tests/bugs/test_gaps.py::test_a_disk_that_fails_is_no_fresh_start[sync.json]",),
    ),
    Bug(
        "choices are forgotten when the disk fails",
        "genart/run.py",
        "read_sealed(work / CHOICES) or {}",
        '__import__("genart.store", fromlist=["Store"]).Store(work).read(CHOICES) or {}',
        ("tests/bugs/test_gaps.py::test_a_disk_that_fails_is_no_fresh_start[choices.json]",),
    ),
)

CHECKPOINTS = (
    Bug(
        "a damaged checkpoint is taken up",
        "genart/run.py",
        "return data if hashlib.sha256(memoryview(data)[DIGEST_BYTES:]).digest() == bytes(data[:DIGEST_BYTES]) else None",
        "return data if len(data) > DIGEST_BYTES else None",
        ("tests/test_store.py::test_checkpoints_survive_damage",),
    ),
    Bug(
        "one checkpoint is kept alone",
        "genart/run.py",
        "for old in self._files()[:-2]:",
        "for old in self._files()[:-1]:",
        ("tests/test_store.py::test_checkpoints_survive_damage",),
    ),
    Bug(
        "the optimiser of G is not in the checkpoint",
        "genart/nn/players.py",
        '"G_ema": self.G_ema, "opt_G": self.opt_G, "opt_D": self.opt_D}',
        '"G_ema": self.G_ema, "opt_D": self.opt_D}',
        (f"{DCGAN}::test_after_kills_the_same_command_gives_the_same_bytes",),
    ),
    Bug(
        "the optimiser of D is not in the checkpoint",
        "genart/nn/players.py",
        '"opt_G": self.opt_G, "opt_D": self.opt_D}',
        '"opt_G": self.opt_G}',
        ("tests/resume/test_matrix.py::test_a_killed_stage_goes_on_exactly[dcgan]",),
    ),
    Bug(
        "the average of G is not in the checkpoint",
        "genart/nn/players.py",
        '"D": self.D, "G_ema": self.G_ema,',
        '"D": self.D,',
        (f"{DCGAN}::test_after_kills_the_same_command_gives_the_same_bytes",),
    ),
    Bug(
        "momenta are put back in another memory format",
        "genart/nn/checkpoint.py",
        "return torch.empty_like(parameter).copy_(value)",
        "return value.clone().contiguous()",
        ("tests/nn/test_checkpoint.py::test_momenta_keep_the_memory_format_of_their_parameters",),
    ),
    Bug(
        "random numbers of a training do not go on where it stopped",
        "genart/nn/gan.py",
        'generator=run.generator(stream("z", returns), log.step)',
        'generator=self.__dict__.setdefault("z", run.generator("z"))',
        (f"{DCGAN}::test_after_kills_the_same_command_gives_the_same_bytes",),
    ),
    Bug(
        "the order of pictures begins anew after a resume",
        "genart/nn/gan.py",
        "real = self.pictures.batch(log.step, log.nimg, batch_size, self.shard)",
        'real = self.pictures.batch(log.step, log.nimg - self.__dict__.setdefault("first", log.nimg), batch_size)',
        (f"{DCGAN}::test_after_kills_the_same_command_gives_the_same_bytes",),
    ),
    Bug(
        "level and fade-in begin anew after a resume",
        "genart/nn/gan.py",
        "                trainer.schedule(int(place))",
        '                trainer.schedule(int(place - self.__dict__.setdefault("first", place)))',
        (f"{PROGAN}::test_after_kills_within_a_fade_in_the_same_command_gives_the_same_bytes",),
    ),
    Bug(
        "what the watch noted is forgotten after a resume",
        "genart/nn/gan.py",
        "            self.watchdog.watch = Watch(**self.log.watch)\n",
        "",
        (f"{DCGAN}::test_a_kill_after_a_return_changes_nothing", f"{DCGAN}::test_after_kills_the_same_command_gives_the_same_bytes"),
    ),
    Bug(
        "sums of the running tick are forgotten after a resume",
        "genart/nn/gan.py",
        'checkpoint.unpack(self.trainer.parts | {"sums": self.sums}, tensors',
        "checkpoint.unpack(self.trainer.parts, tensors",
        ("tests/bugs/test_gaps.py::test_a_resume_between_two_ticks_tells_the_mean_of_both_halves",),
    ),
    Bug(
        "the last good state is not in the checkpoint",
        "genart/nn/gan.py",
        'self.run.checkpoints.save(tensors | beside, state | {"good": self.good[1]})',
        'self.run.checkpoints.save(tensors, state | {"good": self.good[1]})',
        ("tests/bugs/test_gaps.py::test_a_return_after_a_resume_finds_the_last_good_state",),
    ),
    Bug(
        "a timelapse is not cut back to its checkpoint",
        "genart/nn/gan.py",
        '        self.run.sink("progress").truncate(self.log.snapshots)\n        self.timed = self._ticked',
        "        self.timed = self._ticked",
        ("tests/bugs/test_gaps.py::test_a_kill_between_pictures_and_their_checkpoint_shows_none_twice",),
    ),
    Bug(
        "a checkpoint of numbers that are none is saved",
        "genart/nn/gan.py",
        "        if not checkpoint.all_finite(tensors):\n            return\n",
        "",
        (f"{DCGAN}::test_NaN_again_and_again_ends_with_exit_code_8_and_keeps_the_last_good_checkpoint",),
    ),
)

KEYS = (
    Bug(
        "keys forget parameters",
        "genart/plan.py",
        '            "params": params,\n            "files": files,',
        '            "params": {"count": params.get("count")},\n            "files": files,',
        ("tests/test_plan.py::test_reasons", "tests/test_plan.py::test_a_typed_parameter_is_another"),
    ),
    Bug(
        "keys forget the code of a plugin",
        "genart/plan.py",
        '            "code": self.plugins.identity(plugin),',
        '            "code": {"version": "1", "source": ""},',
        ("tests/test_plan.py::test_a_change_of_code_reruns_the_stage_and_spares_what_follows",),
    ),
    Bug(
        "keys forget what is in files",
        "genart/plan.py",
        "if str(path) in sides else self.content(path)",
        "if str(path) in sides else str(path)",
        ("tests/test_plan.py::test_content_counts_and_dates_do_not", "tests/test_plan.py::test_folders_count_by_names_and_contents"),
    ),
    Bug(
        "keys forget the inputs",
        "genart/plan.py",
        "            inputs.append(entry.digest(source.output))",
        "            inputs.append(source.output)",
        ("tests/bugs/test_gaps.py::test_what_follows_another_input_is_another_result",),
    ),
    Bug(
        "keys take 1, 1.0 and true for the same",
        "genart/params.py",
        '        return {"int": str(value)}',
        "        return canonical(float(value))",
        (
            "tests/test_params.py::test_lookalikes_differ",
            "tests/test_params.py::test_canonical_json_is_the_same_exactly_for_the_same_values",
        ),
    ),
    Bug(
        "a changed file of the same size counts as the old one",
        "genart/plan.py",
        "known[:4] == mark else",
        "known[:1] == mark[:1] else",
        ("tests/bugs/test_gaps.py::test_a_file_that_keeps_its_size_is_read_again",),
    ),
    Bug(
        "a file whose date was put back counts as the old one",
        "genart/plan.py",
        "stat.st_mtime_ns, stat.st_ctime_ns]",
        "stat.st_mtime_ns, stat.st_mtime_ns]",
        ("tests/faults/test_clock.py::test_a_picture_that_changed_is_seen_whatever_its_date",),
    ),
    Bug(
        "pictures share one seed",
        "genart/run.py",
        "derive(self._parent(), label) if index is None else derive(self._parent(), label, index)",
        "derive(self._parent(), label)",
        ("tests/bugs/test_gaps.py::test_every_picture_has_its_own_seed",),
    ),
    Bug(
        "stages share one seed",
        "genart/plan.py",
        "seeds.derive(self.recipe.seed, node.written)",
        "seeds.derive(self.recipe.seed, node.stage.name)",
        ("tests/test_plan.py::test_stages_and_seeds_draw_apart",),
    ),
    Bug(
        "labels of seeds run into each other",
        "genart/seeds.py",
        'json.dumps(labels, separators=(",", ":"), ensure_ascii=True)[:-1].encode()',
        '"".join(map(str, labels)).encode()',
        ("tests/test_seeds.py::test_lookalikes_differ",),
    ),
    Bug(
        "many seeds at once are others than one by one",
        "genart/seeds.py",
        'digest.update(b",%d]" % index)',
        'digest.update(b",%d" % index)',
        ("tests/test_seeds.py::test_many_at_once_are_those_one_by_one",),
    ),
)

DOOR = (
    Bug(
        "SIGTERM ends in 0",
        "genart/errors.py",
        "        self.exit_code = 128 + signal_number",
        "        self.exit_code = 0 if signal_number == 15 else 128 + signal_number",
        ("tests/test_runner.py::test_a_signal_stops_the_run_and_says_how_to_go_on",),
    ),
    Bug(
        "a reader that goes away ends in 1",
        "genart/commands/app.py",
        "    except BrokenPipeError:\n        raise Interrupted(SIGPIPE) from None",
        "    except BrokenPipeError:\n        raise SystemExit(1) from None",
        ("tests/test_runner.py::test_a_reader_that_goes_away",),
    ),
    Bug(
        "what is refused has the exit code of bad data",
        "genart/errors.py",
        "    exit_code = 7",
        "    exit_code = 3",
        ("tests/test_runner.py::test_a_link_out_of_the_output_folder_is_refused",),
    ),
    Bug(
        "places that cannot be written are found after all is computed",
        "genart/runner.py",
        "        self._check_places()\n",
        "",
        ("tests/faults/test_places.py::test_places",),
    ),
    Bug(
        "a full disk is told as a bug",
        "genart/store.py",
        '        errno.ENOSPC: ("the disk is full"',
        '        -errno.ENOSPC: ("the disk is full"',
        ("tests/test_runner.py::test_a_failed_save_leaves_the_old_output",),
    ),
    Bug(
        "control characters reach the terminal",
        "genart/commands/printing.py",
        "    clean = [printable(line)[:1000] for line in lines]",
        "    clean = [line[:1000] for line in lines]",
        ("tests/bugs/test_gaps.py::test_errors_are_plain_words",),
    ),
    Bug(
        "control characters count as printable",
        "genart/errors.py",
        'sign if sign.isprintable() or sign in keep else "?"',
        'sign if sign > "\\x1f" or sign in keep else "?"',
        ("tests/fuzz/test_properties.py::test_printable_words_obey_nobody",),
    ),
)

STRANGERS = (
    Bug(
        "a path is inside if its name begins alike",
        "genart/folders.py",
        "if path.resolve().is_relative_to(self.path.resolve()):",
        "if str(path.resolve()).startswith(str(self.path.resolve())):",
        ("tests/bugs/test_gaps.py::test_a_link_to_a_folder_whose_name_begins_alike_leads_out",),
    ),
    Bug(
        "links below the output folder are followed",
        "genart/folders.py",
        '_FOLDER | _FLAGS["NOFOLLOW"]',
        "_FOLDER",
        ("tests/security/test_races.py::test_two_thousand_races_end_inside",),
    ),
    Bug(
        "a foreign pickle may make anything",
        "genart/nn/quarantine.py",
        'torch.load(sys.stdin.buffer, map_location="cpu", weights_only=True)',
        'torch.load(sys.stdin.buffer, map_location="cpu", weights_only=False)',
        ("tests/security/test_convert.py::test_nothing_of_a_hostile_pickle_is_run[os.system]",),
    ),
    Bug(
        "an event file names the computer",
        "genart/tensorboard.py",
        ".genart.{os.getpid()}",
        ".{__import__('socket').gethostname()}.{os.getpid()}",
        ("tests/security/test_secrets.py::test_nothing_of_the_users_is_written_or_told",),
    ),
    Bug(
        "a page shows what lies beside its folder",
        "genart/report.py",
        "path if path.is_relative_to(folder) else",
        "path if str(path).startswith(str(folder)) else",
        ("tests/bugs/test_gaps.py::test_a_page_shows_no_training_beside_its_folder",),
    ),
    Bug(
        "a page shows what an absolute name leads to",
        "genart/report.py",
        "if not path.parts or path.is_absolute() or",
        "if not path.parts or",
        ("tests/bugs/test_gaps.py::test_a_page_shows_nothing_beside_its_folder",),
    ),
    Bug(
        "a save may hold backslashes",
        "genart/recipe.py",
        '"\\\\" in save or ":" in save',
        '":" in save',
        ("tests/fuzz/test_fuzz.py::test_fuzzing_begins_with_inputs_that_are_read_to_their_end[save]",),
    ),
    Bug(
        "a save may be absolute",
        "genart/recipe.py",
        'pure.is_absolute() or ".." in pure.parts or',
        '".." in pure.parts or',
        (
            "tests/fuzz/test_properties.py::test_no_save_leaves_the_output_folder",
            "tests/fuzz/test_fuzz.py::test_a_sample_of_bytes_breaks_nothing[save]",
        ),
    ),
    Bug(
        "the report is not escaped",
        "genart/report.py",
        "Environment(autoescape=True,",
        "Environment(autoescape=False,",
        ("tests/test_report.py::test_everything_is_escaped_and_nothing_outside_is_shown",),
    ),
    Bug(
        "provenance names whole paths",
        "genart/provenance.py",
        'os.path.basename(os.path.expanduser("~"))) else path.name',
        'os.path.basename(os.path.expanduser("~"))) else str(path)',
        (
            "tests/test_runner.py::test_outputs_explain_themselves_without_secrets",
            "tests/test_runner.py::test_run_json_tells_all_and_no_path",
        ),
    ),
    Bug(
        "provenance names the user",
        "genart/provenance.py",
        'path.name in ("", os.path.basename(os.path.expanduser("~")))',
        'path.name in ("",)',
        ("tests/test_provenance.py::test_the_user_is_not_named",),
    ),
    Bug(
        "a provenance that was changed is believed",
        "genart/provenance.py",
        "    if told.seal != _seal_of(plain):",
        "    if not told.seal:",
        ("tests/test_provenance.py::test_a_changed_provenance_is_told_apart",),
    ),
    Bug(
        "headers of models have no limit",
        "genart/artifacts.py",
        "    if not 2 <= size <= MAX_HEADER_BYTES:",
        "    if not 2 <= size:",
        ("tests/bugs/test_gaps.py::test_a_header_is_refused_by_its_length_alone",),
    ),
    Bug(
        "pictures have no limit of pixels",
        "genart/nn/pictures.py",
        "    if width * height > MAX_PIXELS:\n        picture.close()",
        "    if width * height < 0:\n        picture.close()",
        ("tests/bugs/test_gaps.py::test_a_picture_is_refused_by_its_header_alone",),
    ),
    Bug(
        "a picture may come in any number of scans",
        "genart/nn/pictures.py",
        "MAX_SCANS = 100",
        "MAX_SCANS = 10**9",
        ("tests/corpus/test_corpus.py::test_a_file_ends_as_it_should[JPEG/5,000 scans of 64 megapixels]",),
    ),
    Bug(
        "pictures in a pipe have no limit of pixels",
        "genart/streams.py",
        '    width, height = struct.unpack(">II", body[:8])\n    if width * height > MAX_PIXELS:',
        '    width, height = struct.unpack(">II", body[:8])\n    if width * height < 0:',
        ("tests/test_streams.py::test_what_is_no_stream_of_pictures_is_refused",),
    ),
    Bug(
        "a compressed text may grow without end",
        "genart/tags.py",
        "text = stream.decompress(data, limit + 1)",
        "text = stream.decompress(data)[: limit + 1]",
        ("tests/bugs/test_gaps.py::test_a_compressed_text_takes_no_more_memory_than_it_may",),
    ),
    Bug(
        "a recipe has no limit of size",
        "genart/recipe.py",
        "        if path.stat().st_size > MAX_RECIPE_BYTES:",
        "        if path.stat().st_size < 0:",
        ("tests/bugs/test_gaps.py::test_a_recipe_is_refused_by_its_size_alone",),
    ),
    Bug(
        "a chunk of a PNG is not compared with its checksum",
        "genart/streams.py",
        '        if zlib.crc32(body, zlib.crc32(kind)) != int.from_bytes(rest[-4:], "big"):',
        "        if not rest[-4:]:",
        ("tests/test_streams.py::test_a_flipped_byte_never_gives_a_picture",),
    ),
    Bug(
        "a second header of a PNG is believed",
        "genart/streams.py",
        '        elif kind == b"IHDR":',
        '        elif kind == b"none":',
        (FUZZ,),
    ),
    Bug(
        "what a colour profile raises gets out",
        "genart/nn/pictures.py",
        "OSError, KeyError, ValueError):  # the last",
        "OSError, KeyError):  # the last",
        ("tests/plugins/images/test_folder.py::test_unusable_icc_profile_is_ignored[nameless]",),
    ),
    Bug(
        "a damaged mark of pictures is believed",
        "genart/artifacts.py",
        "return found if seal == sha256_of_json([label, found]) else None",
        "return found",
        (FUZZ,),
    ),
    Bug(
        "a picture that a plugin reads has no limit of pixels",
        "genart/nn/pictures.py",
        "        if width * height > MAX_PIXELS:\n            raise _too_large",
        "        if width * height < 0:\n            raise _too_large",
        (f"{FORMATS}::test_whatever_a_reader_does_one_picture_is_unreadable[is huge]",),
    ),
    Bug(
        "a reader of a plugin that leaves takes the process along",
        "genart/nn/pictures.py",
        "        except (Exception, SystemExit) as error:\n            raise self._says",
        "        except Exception as error:\n            raise self._says",
        (f"{FORMATS}::test_whatever_a_reader_does_one_picture_is_unreadable[leaves]",),
    ),
    Bug(
        "a reader of a plugin is no part of the key",
        "genart/plan.py",
        "            for _, hook, name, built_in in registered_names(node.params)\n        } | readers",
        "            for _, hook, name, built_in in registered_names(node.params)\n        }",
        (f"{FORMATS}::test_the_key_knows_the_reader",),
    ),
    Bug(
        "a film of a plugin that was left unfinished is kept",
        "plugins/genart_video/film.py",
        "    if not ended:",
        "    if not count:",
        ("tests/test_films_of_plugins.py::test_what_a_bad_writer_does_is_told[leaves more frames]",),
    ),
)

BUGS = (*DURABILITY, *STORE, *CHECKPOINTS, *KEYS, *DOOR, *STRANGERS)
