"""Checkpoints that a kill, a power cut or a full disk cannot break."""

import shutil
from pathlib import Path, PureWindowsPath

from mmengine.dist import all_gather_object, all_reduce, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS

from ...fileio import write_atomic
from ..processes import unwrap


class AtomicBackend(LocalBackend):
    """MMEngine's local files, written whole or not at all."""

    def put(self, obj: bytes, filepath) -> None:
        write_atomic(filepath, obj, durable=True)

    def put_text(self, obj: str, filepath, encoding: str = 'utf-8') -> None:
        write_atomic(filepath, obj.encode(encoding), durable=True)


register_backend('mmovsam_atomic', AtomicBackend, force=True)


def last_checkpoint(work_dir):
    """Path of the checkpoint that a training goes on from; None if there is none yet.

    MMEngine notes it by its absolute path. The file of that name in the folder itself comes first:
    the folder may have been moved or copied.
    """
    pointer = Path(work_dir, 'last_checkpoint')
    if not pointer.is_file():
        return None
    noted = pointer.read_text().strip()
    inside = pointer.with_name(PureWindowsPath(noted).name)  # which takes both kinds of slashes
    return str(inside) if inside.is_file() else noted


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """MMEngine's `CheckpointHook`, safe against a kill at any moment.

    A checkpoint gets its name when it is complete, `last_checkpoint` points to it after that,
    and only then are outdated ones removed; MMEngine's own hook does these the other way round. So
    it is with the best ones (`save_best`). Gradients that wait to be accumulated with others are in
    the checkpoint too. Arguments are those of `CheckpointHook`.
    """

    def __init__(self, *args, backend_args=None, **kwargs):
        remote = '://' in str(kwargs.get('out_dir') or '')
        if backend_args is None and kwargs.get('file_client_args') is None and not remote:
            backend_args = dict(backend='mmovsam_atomic')
        super().__init__(*args, backend_args=backend_args, **kwargs)
        self._gradients = {}  # of the checkpoint that was read

    def before_run(self, runner) -> None:
        """Resume from the work folder's own checkpoint, where MMEngine would follow a path."""
        if runner._resume and runner._load_from is None:
            runner._load_from = last_checkpoint(runner.work_dir)

    def before_train(self, runner) -> None:
        super().before_train(runner)
        self._outdated = []
        self._remove, self.file_backend.remove = self.file_backend.remove, self._outdated.append
        if is_main_process() and isinstance(self.file_backend, AtomicBackend):
            # what an earlier kill left unfinished
            for pattern in ('.*.pth.*.tmp', '.last_checkpoint.*.tmp'):
                for leftover in Path(self.out_dir).glob(pattern):
                    leftover.unlink(missing_ok=True)
        if runner.iter > 0:  # resumed, not only loaded
            for name, parameter in unwrap(runner.model).named_parameters():
                if name in self._gradients:
                    parameter.grad = self._gradients[name].to(parameter)
        self._gradients = {}

    def before_save_checkpoint(self, runner, checkpoint) -> None:
        wrapper = runner.optim_wrapper
        if getattr(wrapper, '_accumulative_counts', 1) > 1 and not wrapper.should_update():
            gradients = {  # that have not changed the weights yet
                name: parameter.grad.detach().clone()
                for name, parameter in unwrap(runner.model).named_parameters()
                if parameter.grad is not None
            }
            for gradient in gradients.values():
                all_reduce(gradient, 'mean')  # each process has those of its own samples
            checkpoint['gradients'] = {name: grad.cpu() for name, grad in gradients.items()}

    def after_load_checkpoint(self, runner, checkpoint) -> None:
        self._gradients = checkpoint.get('gradients', {})

    def _save_checkpoint_with_step(self, runner, step, meta):
        if self.max_keep_ckpts > 0 and (not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step):
            kept = [*self.keep_ckpt_ids, step]
            names = map(self.filename_tmpl.format, kept[: -self.max_keep_ckpts])
            self._outdated += [self.file_backend.join_path(self.out_dir, name) for name in names]
            self.keep_ckpt_ids.append(step)  # a deque of that length
            # with those outdated: a training that is killed before they are gone removes them
            # when it is resumed
            runner.message_hub.update_info('keep_ckpt_ids', kept)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        failure = None
        try:
            runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            if is_main_process():
                pointer = Path(runner.work_dir) / 'last_checkpoint'
                write_atomic(pointer, self.last_ckpt, durable=True)
        except OSError as error:
            failure = self._explain(runner, self.last_ckpt, error)
        failures = [text for text in all_gather_object(failure) if text]
        if failures:
            raise OSError(failures[0])  # in all processes: none waits for another
        self._remove_outdated()

    def _save_best_checkpoint(self, runner, metrics):
        try:
            super()._save_best_checkpoint(runner, metrics)
        except OSError as error:
            if error.errno is None:  # explained
                raise
            raise OSError(self._explain(runner, 'of the best weights', error)) from error
        self._remove_outdated()

    def _remove_outdated(self) -> None:
        while self._outdated:
            path = self._outdated.pop()
            if is_main_process() and self.file_backend.isfile(path):
                self._remove(path)

    def _explain(self, runner, checkpoint, error) -> str:
        """Why nothing could be saved, and what there is."""
        free, advice = '', 'There is no earlier one.'
        if isinstance(self.file_backend, LocalBackend):
            free = f' ({shutil.disk_usage(self.out_dir).free / 2**20:,.0f} MiB are free)'
        last = Path(runner.work_dir) / 'last_checkpoint'
        if last.is_file():
            advice = (
                f'{last.read_text()} is complete: when there is room, the same command with '
                '--resume goes on from it.'
            )
        return (
            f'The checkpoint {checkpoint} could not be written: {error.strerror or error}'
            f'{free}. {advice}'
        )
