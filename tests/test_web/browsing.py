"""What people do on the page in a browser, and a small drawn scene that the model knows."""

PATIENCE = 120_000  # milliseconds; the machine may have other things to do
SCENE = 3


class User:
    """What people do on the page, in pixels of the picture."""

    def __init__(self, page):
        self.page = page
        self.name = page.locator('#name input, #name textarea')
        self.best = page.locator('.best')
        self.names = page.locator('ol.names span')

    def open_scene(self, number):
        status = self.page.locator('.status').first
        status.evaluate('line => { line.textContent = "" }')  # it may say so of another picture
        self.page.locator('.examples button').nth(number).click()
        self.page.wait_for_selector('.status:text-matches("Encoded in|came back")')

    def open_file(self, path, status):
        with self.page.expect_file_chooser() as chooser:
            self.press('Open a picture')
        chooser.value.set_files(path)
        self.wait_status(status)

    def wait_status(self, text):
        self.page.wait_for_selector(f'.status:has-text("{text}")')

    def on_screen(self, x, y):
        box = self.page.locator('#marks svg').bounding_box()
        width, height = map(float, self.marks('svg').get_attribute('viewBox').split()[2:])
        return box['x'] + x / width * box['width'], box['y'] + y / height * box['height']

    def click(self, x, y, kind='yes', **kwargs):
        before = self.marks(f'.dot.{kind}:not(.core)').count()
        self.page.mouse.click(*self.on_screen(x, y), **kwargs)
        self.marks(f'.dot.{kind}:not(.core)').nth(before).wait_for(state='attached')

    def drag(self, x1, y1, x2, y2):
        mouse = self.page.mouse
        mouse.move(*self.on_screen(x1, y1))
        mouse.down()
        mouse.move(*self.on_screen((x1 + x2) / 2, y2))
        assert self.marks('.band').is_visible()
        mouse.move(*self.on_screen(x2, y2))
        mouse.up()
        self.marks('rect.box').wait_for(state='attached')

    def press(self, name):
        self.page.get_by_role('button', name=name, exact=True).click()

    def choose(self, mode):
        self.page.get_by_text(mode, exact=True).click()

    def save(self, name, folder):
        with self.page.expect_download() as download:
            self.press(name)
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        return path

    def marks(self, selector):
        return self.page.locator(f'#marks {selector}')

    @property
    def objects(self):
        return [field.input_value() for field in self.page.locator('ul.objects input').all()]

    def wait_objects(self, number):
        self.page.wait_for_function(
            'number => document.querySelectorAll("ul.objects li").length === number', arg=number
        )


def answer_to(shared, image, **prompt):
    predictor = shared[0].fork()
    predictor.set_image(image)
    return predictor.predict(**prompt, multimask_output=False)
