// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// Values kept under a name; all getters revert for an unknown or dropped name.
interface MetadataRegistry {
    event DataChanged(bytes32 indexed name, string key, string plainKey);

    function getAddress(bytes32 _name, string calldata _key) external view returns (address);

    function getData(bytes32 _name, string calldata _key) external view returns (bytes32);

    function getUint(bytes32 _name, string calldata _key) external view returns (uint256);
}
