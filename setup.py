"""Installs the packages under ``projects/``.

torch, mmcv and spconv are left to the user, because their wheels differ by CUDA release; the
README lists the combinations that are known to work.
"""

from pathlib import Path

from setuptools import find_packages, setup

TRANSFORMERS = 'transformers==5.24.0'  # encoders of configs/video and configs/medvl; torch >= 2.6

setup(
    name='mmdistill3d',
    version='0.1.0',
    description='Knowledge distillation for MMDetection3D, from a config alone',
    long_description=Path(__file__).with_name('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    package_dir={'': 'projects'},
    packages=find_packages('projects'),
    package_data={'mmdistill.report': ['page.html.j2']},
    python_requires='>=3.10',
    install_requires=[
        'mmengine>=0.10.4',
        'mmdet>=3.2,<3.4',
        'mmdet3d>=1.4,<1.5',
        'nuscenes-devkit',
        'numpy>=1.23,<2',
        'tqdm',
        'matplotlib',
        'jinja2',
        'pillow',
        'scipy',
    ],
    extras_require={
        'dev': ['pytest', 'pytest-xdist', 'ruff'],
        'deploy': ['onnx==1.23.2', 'onnxscript==0.7.2', 'onnxruntime==1.32.0'],
        'video': [TRANSFORMERS],
        'medical': [TRANSFORMERS],
    },
    classifiers=[
        'License :: OSI Approved :: Apache Software License',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
    ],
)
