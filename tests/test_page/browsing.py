"""What people do on the page in a browser, in pixels of the picture."""

import contextlib
import re
import shutil
import threading
import time

import pytest
import uvicorn

from mmovsam.server import Served, add_page, make_app

PATIENCE = 120_000  # milliseconds; the machine may have other things to do
SCENE = 3
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')


def chromium():
    """A command of Chromium; skips without one."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip('no Chromium: apt-get install chromium (Debian, Ubuntu), or install Chrome')
    return path


@contextlib.contextmanager
def serving(shared, limits=None, examples=None, port=0, **settings):
    """The page's address, as long as the block runs."""
    served = Served(*shared, limits, **settings)
    app = make_app(served)
    add_page(app, served, examples)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f'http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/'
    server.should_exit = True
    thread.join()


class User:
    """Somebody with a browser of their own."""

    def __init__(self, page, url):
        self.page = page
        self.best = page.locator('#best')
        self.names = page.locator('#names span')
        self.name = page.locator('#name')
        self.dialogs = []
        page.set_default_timeout(PATIENCE)
        page.on('dialog', lambda dialog: self.dialogs.append(dialog.type) or dialog.accept())
        self.come(url)

    def come(self, url):
        self.page.goto(url)
        self.wait_ready()

    def reload(self):
        self.page.reload()
        self.wait_ready()

    def wait_ready(self):
        self.page.wait_for_selector('#vocabulary-note:not(:empty)')
        # a browser drops what is done before it has painted
        hear = "addEventListener('keydown', () => { window.isHeard = true; }, { once: true });"
        self.page.evaluate(f'() => {{ {hear} }}')
        while not self.page.evaluate('window.isHeard'):
            self.key('Shift')

    def open_scene(self, number):
        self.page.locator('#status').evaluate('line => { line.textContent = "" }')
        self.page.locator('#examples button').nth(number).click()
        self.wait_opened()

    def wait_opened(self):
        self.page.wait_for_selector('#status:text-matches("Encoded in|came back")')

    def wait_until(self, expression, arg=None):
        """As `wait_for_function`, which the page's content policy lets ask only once."""
        end = time.monotonic() + PATIENCE / 1000
        while not self.page.evaluate(expression, arg):
            assert time.monotonic() < end, expression
            time.sleep(0.02)

    def choose_files(self, files, how):
        """Choose files where `how` asks for them; a dialog never comes, so none can be late."""
        self.page.evaluate("""() => addEventListener('click', function choose(event) {
            if (event.target.type !== 'file') return;
            removeEventListener('click', choose);
            event.preventDefault();
            window.asked = event.target.id;
        })""")
        how()
        self.wait_until('window.asked')
        asked = self.page.evaluate('[window.asked, (window.asked = null)][0]')
        self.page.locator(f'#{asked}').set_input_files(files)

    def key(self, key, times=1):
        for _ in range(times):
            self.page.keyboard.press(key)

    def wait_status(self, text):
        self.page.wait_for_selector(f'#status:has-text("{text}")')

    def wait_described(self, pattern):
        """Until what the page says of the picture matches, such as '1 point, a mask of'."""
        pattern = re.compile(pattern)
        described = self.page.locator('#described')
        described.filter(has_text=pattern).wait_for(state='attached')
        return described.inner_text()

    def view(self):
        """The corner of the picture on the screen, and how many pixels one of its pixels has."""
        canvas = self.page.locator('#stage canvas')
        box, view = canvas.bounding_box(), canvas.evaluate('canvas => ({...canvas.dataset})')
        return box['x'] + float(view['x']), box['y'] + float(view['y']), float(view['scale'])

    def on_screen(self, x, y):
        left, top, scale = self.view()
        return left + x * scale, top + y * scale

    def on_picture(self, x, y):
        left, top, scale = self.view()
        return (x - left) / scale, (y - top) / scale

    def click(self, x, y, **kwargs):
        """Click, and wait for the mask."""
        self.page.mouse.click(*self.on_screen(x, y), **kwargs)
        self.wait_status('Refine it with more clicks')
        self.page.locator('#status').evaluate('line => { line.textContent = "" }')

    def drag(self, *places):
        mouse = self.page.mouse
        mouse.move(*self.on_screen(*places[:2]))
        mouse.down()
        for x, y in zip(places[2::2], places[3::2]):
            mouse.move(*self.on_screen(x, y), steps=3)
        mouse.up()

    def press(self, name):
        self.page.get_by_role('button', name=name, exact=True).click()

    def choose(self, tool):
        self.page.get_by_text(tool, exact=True).click()

    def save(self, how, folder):
        with self.page.expect_download() as download:
            how() if callable(how) else self.press(how)
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        return path

    @property
    def objects(self):
        return [field.input_value() for field in self.page.locator('#objects input').all()]

    def wait_objects(self, number):
        self.wait_until(
            'number => document.querySelectorAll("#objects input").length === number', arg=number
        )


def answer_to(shared, image, **prompt):
    predictor = shared[0].fork()
    predictor.set_image(image)
    return predictor.predict(**prompt, multimask_output=False)
